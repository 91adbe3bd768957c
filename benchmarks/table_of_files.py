"""Open every file below a folder and print what was read of it, as a table in Markdown.

Of a video or volume the picture in the middle is decoded; of frames that do not say when they were taken the first.
Files of the same kind and folder share a row. Exit code 1 if a file was refused for another reason than its kind (a
list, a text, masks).
"""

import argparse
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ophiscope.core.axis import AxisName
from ophiscope.core.study import AxisSpan, StudyHeader
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.study import read_study

EXPECTED = (MediaCode.UNSUPPORTED, MediaCode.UNKNOWN_FORMAT, MediaCode.MASKS)
"""What is no picture at all."""


class Opened(NamedTuple):
    """One file."""

    path: Path
    header: StudyHeader | None
    holds: str
    """What it holds beside one picture."""
    refusal: MediaRejected | None


def open_file(path: Path) -> Opened:
    """The file's only picture, or the one in the middle."""
    try:
        study = read_study(path)
        holds = [describe_axis(span) for span in study.header.axes]
        if study.stack is not None:
            span = study.header.axes[0]
            study.at(study.stack.find(span.axis, (span.start + span.end) / 2)).source.read_root()
        return Opened(path, study.header, ", ".join(holds), None)
    except MediaRejected as refusal:
        if refusal.code is not MediaCode.NEEDS_SELECTION:
            return Opened(path, None, "", refusal)
        frames = re.search(r"--frame 0 to (\d+)", str(refusal))
    try:
        return Opened(path, read_study(path, frame=0).header, f"{int(frames[1]) + 1 if frames else 0} frames", None)
    except MediaRejected as refusal:
        return Opened(path, None, "", refusal)


def describe_axis(span: AxisSpan) -> str:
    """How many pictures there are along it."""
    along_time = span.axis is AxisName.TIME
    return f"{span.pictures} frames in {span.end:.4g} s" if along_time else f"{span.pictures} {span.axis}"


def open_all(folder: Path) -> Iterator[Opened]:
    """Every file in a fixed order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield open_file(path)


def describe(found: Opened) -> tuple[str, ...]:
    """What files that share a row have in common: kind, colour, bits, spacing, what else they hold."""
    header = found.header
    if header is None:
        why = str(found.refusal).partition(": ")[2].partition(";")[0]
        return f"refused: {why}", "", "", "", ""
    colour = "RGB" if header.channels == 3 else "grey"
    spacing = "" if header.spacing_mm is None else " x ".join(f"{mm:.4g}" for mm in header.spacing_mm)
    kind = header.media_type.partition("/")[2] + (f" {header.modality}" if header.modality else "")
    return kind, colour, str(header.bits_stored), spacing, found.holds


def describe_sizes(group: list[Opened]) -> str:
    """One size, or the smallest and the largest."""
    sizes = sorted({found.header.size_wh for found in group if found.header is not None}, key=math.prod)
    ends = ["x".join(map(str, size)) for size in (sizes[:1] + sizes[1:][-1:])]
    return " to ".join(ends)


def main() -> None:
    """Open, print, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    rows: dict[tuple[str, ...], list[Opened]] = {}
    wrong = []
    for found in open_all(asked.folder):
        place = found.path.relative_to(asked.folder)
        rows.setdefault((str(place.parent), *describe(found)), []).append(found)
        if found.refusal is not None and found.refusal.code not in EXPECTED:
            wrong.append(f"{place}: {found.refusal}")
    print("| files | size | read as | colour | bits | mm a pixel | holds |\n|---|---|---|---|---|---|---|")
    for (folder, *columns), group in rows.items():
        shown = group[0].path.name if len(group) == 1 else f"{len(group)} files"
        print(f"| {folder}/{shown} | {describe_sizes(group)} | {' | '.join(columns)} |")
    print(f"\n{sum(map(len, rows.values()))} files, {len(wrong)} refused against expectation", *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
