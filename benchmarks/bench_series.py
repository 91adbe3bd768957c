"""How long a series of 500 slices takes: all headers, one axial slice, one slice across.

The files are written first: 500 uncompressed CT slices of 512 x 512, with the elements that a scanner writes. Cached by
the operating system, as after a copy. Prints medians of ``--repeats`` and the time of reading the same bytes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ophiscope.core.volume import parse_slice
from ophiscope.errors import MediaRejected
from ophiscope.media.study import read_study


def write_series(folder: Path, count: int) -> None:
    """A CT series with a usual number of elements."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (512, 512), dtype=np.int16)
    series, study = generate_uid(), generate_uid()
    for number in range(count):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, series
        slice_.Modality, slice_.SeriesNumber, slice_.InstanceNumber = "CT", 3, count - number
        slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [-180, -180, number * 0.8], [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.SliceThickness = [0.7, 0.7], 0.8
        slice_.WindowCenter, slice_.WindowWidth, slice_.RescaleSlope, slice_.RescaleIntercept = 40, 400, 1, -1024
        slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = 512, 512, 1
        slice_.PhotometricInterpretation, slice_.PixelRepresentation = "MONOCHROME2", 0
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 12, 11
        slice_.PixelData = (noise + number).tobytes()
        slice_.save_as(folder / f"{number:04}.dcm")


def measure(work: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken)


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()

    def look(folder: Path, choice: str | None) -> None:
        try:
            read_study(folder, slice_at=None if choice is None else parse_slice(choice))
        except MediaRejected as refusal:
            if choice is not None or f"one of {asked.slices} pictures" not in str(refusal):
                raise

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_series(folder, asked.slices)
        look(folder, None)  # starts the worker
        rows = {
            "reading the bytes": measure(lambda: [path.read_bytes() for path in folder.iterdir()], asked.repeats),
            "headers (what is here?)": measure(lambda: look(folder, None), asked.repeats),
            "headers and one axial slice": measure(lambda: look(folder, "axial:250"), asked.repeats),
            "headers and one coronal slice": measure(lambda: look(folder, "coronal:250"), asked.repeats),
        }
    for name, seconds in rows.items():
        print(f"{name:32}{seconds:8.3f} s  ({1000 * seconds / asked.slices:.2f} ms a slice)")


if __name__ == "__main__":
    main()
