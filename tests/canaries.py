"""Identifying values that are planted in files, and the search for them in all that comes out.

Every canary is a different text, so that a hit says where it came from.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

__all__ = ["CANARIES", "FILE_NAME", "FOLDER_NAME", "build_elements", "find_canaries"]

_KEYWORDS = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientMotherBirthName",
    "PatientTelephoneNumbers", "MilitaryRank", "EthnicGroup", "Occupation", "PatientComments",
    "AdditionalPatientHistory", "AccessionNumber", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "ReferringPhysicianName", "ReferringPhysicianAddress", "PhysiciansOfRecord",
    "OperatorsName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician",
    "RequestingService", "StudyID", "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments",
    "AcquisitionComments", "DerivationDescription", "StationName", "DeviceSerialNumber", "PlateID", "DetectorID",
    "SoftwareVersions", "ContentCreatorName", "ClinicalTrialSponsorName", "ClinicalTrialSubjectID",
    "RegionOfResidence", "PatientReligiousPreference", "WindowCenterWidthExplanation", "IssuerOfPatientID",
    "AdmissionID", "PerformedProcedureStepDescription", "TextComments",
)  # fmt: skip
_DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")

FILE_NAME, FOLDER_NAME = "Kanari0File", "Kanari0Folder"


def _spell(number: int, keyword: str) -> str:
    vr = dictionary_VR(int(tag_for_keyword(keyword) or 0))
    text = f"Kanari{number}Q"
    return f"{text}^Jürgen^山田" if vr == "PN" else text


_TEXTS = {keyword: _spell(number, keyword) for number, keyword in enumerate(_KEYWORDS, start=10)}
_NUMBERS = {keyword: f"196{number}0717" for number, keyword in enumerate(_DATES)}
_UIDS = {keyword: f"1.2.7701{number}.99" for number, keyword in enumerate(_IDENTIFIERS)}
_PRIVATE, _NESTED, _WORDS = ("Kanari90Q", "Kanari91Q"), "Kanari92Q", ("KANARI93Q", "KANARI94Q")

CANARIES: tuple[str, ...] = (
    *(text.split("^")[0] for text in _TEXTS.values()),
    *("Jürgen", "山田"),
    *_NUMBERS.values(),
    *_UIDS.values(),
    *_PRIVATE,
    _NESTED,
    *_WORDS,
    FILE_NAME,
    FOLDER_NAME,
)
"""What must come out of no command."""


def build_elements() -> dict[str, Any]:
    """Elements of a DICOM file that hold all of them; private ones are added by :func:`add_private`."""
    item = Dataset()
    item.PatientName = _NESTED
    words = {"BurnedInAnnotation": _WORDS[0], "VOILUTFunction": _WORDS[1]}
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        **_TEXTS,
        **_NUMBERS,
        **_UIDS,
        "ReferencedPatientSequence": Sequence([item]),
        **words,
    }


def add_private(data: bytes) -> bytes:
    """A DICOM file with private elements before its pixels, and an instance identifier."""
    start = data.index(b"\xe0\x7f\x10\x00")
    creator, value = (text.encode() + b" " for text in _PRIVATE)
    block = b"\x29\x00\x10\x00LO" + len(creator).to_bytes(2, "little") + creator
    block += b"\x29\x00\x10\x10UN\0\0" + len(value).to_bytes(4, "little") + value
    return data[:start] + block + data[start:]


def find_canaries(*places: bytes | str | Path) -> list[str]:
    """Which of them are in texts, bytes, files and all files and names below folders."""
    found = set()
    for name, content in _open_all(places):
        low = content.lower()
        found |= {f"{canary} in {name}" for canary in CANARIES if canary.lower().encode() in low}
        found |= {f"{canary} in {name}" for canary in CANARIES if canary.encode("utf-16-le") in content}
    return sorted(found)


def _open_all(places: tuple[bytes | str | Path, ...]) -> Iterator[tuple[str, bytes]]:
    for number, place in enumerate(places):
        if isinstance(place, Path):
            files = [file for file in place.rglob("*") if file.is_file()] if place.is_dir() else [place]
            for file in files:
                yield file.name, file.read_bytes()
                yield "the name of a file", str(file.relative_to(place.parent)).encode()
        else:
            yield f"text {number}", place if isinstance(place, bytes) else place.encode()
