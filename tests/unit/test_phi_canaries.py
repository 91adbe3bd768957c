"""No identifying value of a DICOM file leaves ``media``: not in headers, notes, errors, warnings, logs or streams."""

import logging
import re
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from media_files import draw_grey, encode_dicom
from ophiscope.errors import MediaRejected
from ophiscope.media.deid import COPIED_TAGS, DECODING, LEAVING
from ophiscope.media.silence import muted_pydicom
from ophiscope.media.sources import encode_root_png
from ophiscope.media.study import read_study

CANARY = re.compile(rb"canary|k4n4ry|19771231|1\.2\.77\.", re.IGNORECASE)
GREY = draw_grey(bits=16)

IDENTIFYING: dict[str, Any] = {
    "PatientName": "CANARY^NAME",
    "PatientID": "CANARY-ID",
    "PatientBirthDate": "19771231 CANARY",
    "PatientAddress": "1 Canary Road",
    "OtherPatientIDs": ["CANARY1", "CANARY2"],
    "AccessionNumber": "CANARYACC",
    "InstitutionName": "Canary Hospital",
    "ReferringPhysicianName": "CANARY^DR",
    "OperatorsName": "CANARY^OP",
    "StudyDate": "CANARY-DATE",
    "StudyTime": "19771231",
    "StudyDescription": "canary study",
    "SeriesDescription": "canary series",
    "ProtocolName": "canary protocol",
    "ImageComments": "canary comment",
    "PatientComments": "canary comment",
    "StudyInstanceUID": "1.2.77.1",
    "SeriesInstanceUID": "1.2.77.2",
    "SOPInstanceUID": "1.2.77.3",
    "FrameOfReferenceUID": "1.2.77.4",
    "DeviceSerialNumber": "CANARYSN",
    "StationName": "CANARYST",
    "SoftwareVersions": "canary 1",
    "PatientAge": "CANARY",
    "WindowCenterWidthExplanation": "CANARY",
    "Modality": "CANARY",
    "BurnedInAnnotation": "CANARY",
    "VOILUTFunction": "CANARY",
    "SpecificCharacterSet": "CANARY",
}


def build_canaries() -> dict[str, Any]:
    item = Dataset()
    item.PatientName = "CANARY^NESTED"
    return IDENTIFYING | {"ReferencedPatientSequence": Sequence([item])}


def assert_clean(*texts: str) -> None:
    for text in texts:
        assert not CANARY.search(text.encode()), text


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big"])
def test_no_planted_value_reaches_the_header_the_pixels_file_or_any_stream(
    tmp_path: Path, syntax: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "one"
    path.write_bytes(encode_dicom(GREY, syntax, **build_canaries()))
    assert CANARY.search(path.read_bytes())
    forget_writing(capfd, caplog)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = read_study(path)
    out, err = capfd.readouterr()
    assert_clean(study.header.model_dump_json(), repr(study), out, err, caplog.text, *(str(w.message) for w in caught))
    assert not CANARY.search(encode_root_png(study))
    assert study.header.modality is None


@pytest.mark.parametrize(
    "broken",
    [
        {"Rows": None},
        {"RescaleSlope": "CANARY"},
        {"WindowCenter": "CANARY", "WindowWidth": "CANARY"},
        {"PixelSpacing": ["CANARY", "CANARY"]},
        {"PhotometricInterpretation": "CANARY"},
        {"NumberOfFrames": "CANARY"},
        {"PixelPaddingValue": None, "BitsStored": 60},
    ],
)
def test_no_planted_value_reaches_an_error_or_its_traceback(
    tmp_path: Path, broken: dict[str, Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    replaced = {key: value for key, value in broken.items() if isinstance(value, str | list)}
    legal = {key: "1" if isinstance(value, str) else ["11", "22"] for key, value in replaced.items()}
    data = encode_dicom(GREY, "explicit", **build_canaries(), **(broken | legal))
    for key in replaced:
        data = plant(data, key)
    path = tmp_path / "one"
    path.write_bytes(data)
    forget_writing(capfd, caplog)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            texts = [read_study(path).header.model_dump_json()]
        except MediaRejected as refusal:
            texts = [str(refusal), "".join(traceback.format_exception(refusal)), repr(refusal.args)]
    out, err = capfd.readouterr()
    assert_clean(*texts, out, err, caplog.text, *(str(w.message) for w in caught))


def forget_writing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """pydicom complained about the canaries while the test wrote them; only reading counts."""
    capfd.readouterr()
    caplog.clear()
    caplog.set_level(logging.DEBUG)


def plant(data: bytes, keyword: str) -> bytes:
    """Overwrite a short text element's value by one that says CANARY, whatever its type allows."""
    tag = int(tag_for_keyword(keyword) or 0)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + dictionary_VR(tag).encode()
    at = data.index(head, 132)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[: at + 6] + (10).to_bytes(2, "little") + b"K4N4RY\\K4 " + data[at + 8 + length :]


def test_the_lists_of_tags_are_short_and_name_nobody() -> None:
    assert len(LEAVING) <= 20
    assert not set(LEAVING) & set(DECODING)
    for tag, keyword in (LEAVING | DECODING).items():
        assert keyword_for_tag(tag) == keyword
    for tag in COPIED_TAGS:
        assert tag >> 16 not in (0x0010, 0x0032, 0x0038, 0x0040)
        assert (tag >> 16) % 2 == 0
        assert dictionary_VR(tag) not in ("PN", "DA", "DT", "TM", "LO", "LT", "ST", "UT", "SH", "AS")
    assert "SOPClassUID" not in LEAVING.values()
    # The one identifier that is read names a kind of object, never an object.
    assert {keyword_for_tag(tag) for tag in COPIED_TAGS if dictionary_VR(tag) == "UI"} == {"SOPClassUID"}


def test_private_elements_are_walked_over_not_read(tmp_path: Path) -> None:
    data = encode_dicom(GREY)
    start = data.index(b"\xe0\x7f\x10\x00")
    private = b"\x29\x00\x10\x00LO\x06\x00CANARY" + b"\x29\x00\x10\x10UN\0\0\x06\0\0\0CANARY"
    path = tmp_path / "one"
    path.write_bytes(data[:start] + private + data[start:])
    study = read_study(path)
    np.testing.assert_array_equal(study.source.read_root(), GREY)
    assert_clean(study.header.model_dump_json())


def test_pydicom_is_silent_inside_and_itself_again_outside(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom")
    before = (logger.handlers, logger.propagate)
    with muted_pydicom(), warnings.catch_warnings(record=True) as caught:
        logger.error("CANARY")
        logging.getLogger("pydicom.pixels").error("CANARY")
    assert (logger.handlers, logger.propagate) == before
    assert caught == []
    assert caplog.text == ""


def test_a_file_with_every_element_of_the_standard_gives_nothing_away(tmp_path: Path) -> None:
    """PS3.6 as pydicom knows it; so every attribute of the profiles of PS3.15 Annex E is among them."""
    values = {"UI": "1.2.77.1", "DA": "19771231", "AS": "CANA", "DT": "19771231", "TM": "19771231"}
    texts = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", *values)
    planted: dict[str, Any] = {}
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        kept_for_reading = tag in COPIED_TAGS or tag >> 16 in (0x0000, 0x0002, 0x0004, 0x7FE0) or tag & 0xFFFF == 0
        if keyword and vr in texts and not kept_for_reading and tag < 0x7FE0_0000:
            planted[keyword] = values.get(vr, "CANARY")
    assert len(planted) > 1700
    assert set(IDENTIFYING) - set(planted) <= {"WindowCenterWidthExplanation", *(kw for kw in LEAVING.values())}
    path = tmp_path / "one"
    path.write_bytes(encode_dicom(GREY, **planted))
    assert len(CANARY.findall(path.read_bytes())) > 1700
    study = read_study(path)
    assert_clean(study.header.model_dump_json(), repr(study))
    assert not CANARY.search(encode_root_png(study))
