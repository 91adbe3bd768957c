"""Is a set what it says? Files by their hashes, records by their meaning, sides of the split by their subjects."""

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from ophiscope.core.result import ResultKind
from ophiscope.data.assemble import REJECTED
from ophiscope.data.finished import FinishedSet
from ophiscope.data.media_store import MEDIA, compute_file_sha256
from ophiscope.data.plan import is_noncommercial
from ophiscope.data.record import Record, RecordKind, Rejected
from ophiscope.protocol.answer_text import parse_answer

__all__ = ["MOST_FINDINGS", "validate_set"]

MOST_FINDINGS = 50
_PICTURES = (".png", ".jpg")
_PIXEL_KEYS = frozenset(
    {"dpi", "jfif", "jfif_version", "jfif_unit", "jfif_density", "gamma", "transparency", "interlace"}
)
"""What Pillow tells of a picture that says nothing of a person."""


def validate_set(finished: FinishedSet) -> list[str]:
    """Everything that is wrong, a line each, at most :data:`MOST_FINDINGS`; nothing of a sound set."""
    found: list[str] = []
    for finding in _check(finished):
        found.append(finding)
        if len(found) == MOST_FINDINGS:
            return [*found, "and perhaps more; the check ends here"]
    return found


def _check(finished: FinishedSet) -> Iterator[str]:
    yield from _check_files(finished)
    with tempfile.TemporaryDirectory() as folder:
        base = sqlite3.connect(Path(folder) / "known.sqlite")
        base.execute("CREATE TABLE ids (id TEXT PRIMARY KEY)")
        base.execute("CREATE TABLE subjects (subject TEXT PRIMARY KEY, split TEXT)")
        base.execute("CREATE TABLE files (file TEXT PRIMARY KEY, owner TEXT, split TEXT)")
        kinds: Counter[str] = Counter()
        splits: Counter[str] = Counter()
        licenses: set[str] = set()
        for where, record in _read_records(finished):
            if isinstance(record, str):
                yield f"{where}: {record}"
                continue
            kinds[record.kind] += 1
            splits[record.split] += 1
            licenses.add(record.origin.license)
            yield from (f"{where}: {finding}" for finding in _check_record(record))
            yield from (f"{where}: {finding}" for finding in _check_known(base, finished.folder, record))
        yield from _check_counts(finished.manifest, kinds, splits, licenses)
        base.close()


def _check_files(finished: FinishedSet) -> Iterator[str]:
    listed = [*finished.manifest.get("shards", []), finished.manifest.get("rejected") or {"file": REJECTED}]
    for entry in listed:
        path = finished.folder / str(entry.get("file"))
        if not path.is_file():
            yield f"{entry.get('file')} is not there"
        elif compute_file_sha256(path) != entry.get("sha256"):
            yield f"{entry.get('file')} is not the file that the manifest names: its hash differs"
    names = {str(entry.get("file")) for entry in listed}
    for path in sorted(finished.folder.glob("*.jsonl")):
        if path.name not in names:
            yield f"{path.name} is in the folder and not in the manifest"


def _read_records(finished: FinishedSet) -> Iterator[tuple[str, Record | str]]:
    for entry in finished.manifest.get("shards", []):
        path = finished.folder / str(entry.get("file"))
        if not path.is_file():
            continue
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path.name}, line {number}"
                try:
                    yield where, Record.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors(include_url=False)[0]
                    yield where, f"no record: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    path = finished.folder / REJECTED
    if path.is_file():
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    Rejected.model_validate_json(line)
                except ValueError:
                    yield f"{REJECTED}, line {number}", "no rejected record with stage and reason"


def _check_record(record: Record) -> Iterator[str]:
    """What can be told without opening a file."""
    kind = parse_answer(record.answer, record.options).kind
    if record.options and kind not in (ResultKind.OPTION, ResultKind.INSUFFICIENT):
        yield f"the answer {record.answer!r} is none of the options"
    if record.answer == "mask" and not record.options and record.mask is None:
        yield "the answer is a mask, and there is none"
    if record.answer == "box" and not record.options and len(record.boxes) != 1:
        yield "the answer is a box, and there is none, or several"
    if record.answer == "interval" and record.interval_s is None and record.interval_mm is None:
        yield "the answer is an interval, and there is none"
    if record.interval_s is not None:
        start, end = record.interval_s
        if not 0 <= start < end or (record.duration_s is not None and end > record.duration_s + 1e-3):
            yield f"its evidence {start:g}-{end:g} s is reversed or outside of the video"
    if record.kind is RecordKind.VISUAL_COT and not any(turn.role == "tool" for turn in record.turns):
        yield "a trajectory in which nothing was looked at"
    for turn in record.turns:
        if turn.text.count("<image>") != len(turn.images):
            yield f"a turn with {turn.text.count('<image>')} placeholders and {len(turn.images)} pictures"
            break


def _check_known(base: sqlite3.Connection, folder: Path, record: Record) -> Iterator[str]:
    """What has to be known of other records, and the files."""
    if not base.execute("INSERT OR IGNORE INTO ids VALUES (?)", (record.id,)).rowcount:
        yield f"the id {record.id} stands twice"
    subject = record.origin.subject
    row = base.execute("SELECT split FROM subjects WHERE subject = ?", (subject,)).fetchone()
    if row is None:
        base.execute("INSERT INTO subjects VALUES (?, ?)", (subject, record.split))
    elif row[0] != record.split:
        yield f"the subject {subject} is on both sides of the split"
    for file in dict.fromkeys(
        (
            *record.media_paths,
            *record.images,
            *([record.mask] if record.mask else []),
            *(image for turn in record.turns for image in turn.images),
        )
    ):
        if not file.startswith(f"{MEDIA}/") or ".." in file:
            if not file.startswith("drawn:"):
                yield f"{file} is no file of the set"
            continue
        row = base.execute("SELECT split FROM files WHERE file = ?", (file,)).fetchone()
        if row is None:
            base.execute("INSERT INTO files VALUES (?, ?, ?)", (file, subject, record.split))
            yield from _check_medium(folder / file)
        elif row[0] != record.split and file in record.media_paths:
            yield f"{file} is on both sides of the split"
    if record.mask and record.images and (folder / record.mask).is_file() and (folder / record.images[0]).is_file():
        yield from _check_sizes(folder / record.images[0], folder / record.mask)


def _check_medium(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name} is not there"
        return
    if compute_file_sha256(path) != path.stem:
        yield f"{path.name} does not hold what its name says"
        return
    if path.suffix in _PICTURES:
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                picture.verify()
                told = {str(key) for key in picture.info} - _PIXEL_KEYS
        except (OSError, ValueError, SyntaxError) as error:
            yield f"{path.name} is no picture: {type(error).__name__}"
            return
        if told:
            yield f"{path.name} tells more than pixels: {', '.join(sorted(told))}"


def _check_sizes(image: Path, mask: Path) -> Iterator[str]:
    try:
        with Image.open(image) as shown, Image.open(mask) as drawn:
            if shown.size != drawn.size:
                yield f"a mask of {drawn.size} pixels for a picture of {shown.size}"
    except OSError:
        return


def _check_counts(
    manifest: dict[str, Any], kinds: Counter[str], splits: Counter[str], licenses: set[str]
) -> Iterator[str]:
    for name, counted in (("kinds", kinds), ("splits", splits)):
        if dict(counted) != manifest.get(name):
            told, there = json.dumps(manifest.get(name)), json.dumps(dict(counted))
            yield f"the manifest counts {name} as {told}, there are {there}"
    if manifest.get("records") != kinds.total():
        yield f"the manifest counts {manifest.get('records')} records, there are {kinds.total()}"
    mixed = len({is_noncommercial(one) for one in licenses}) > 1
    if mixed and not manifest.get("options", {}).get("allow_noncommercial"):
        yield "licences that forbid commercial use are mixed with others, and nobody allowed it"
    listed = {str(source.get("license")) for source in manifest.get("sources", [])}
    if listed != licenses:
        yield f"the manifest lists the licences {sorted(listed)}, the records have {sorted(licenses)}"
