"""The stages that see a whole set: what is asked twice, what leaks over the split, what outweighs; then the files.

Records are read from the journal one at a time, twice; what has to be known of all of them lies in a file.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ophiscope import __version__
from ophiscope.data.journal import Journal
from ophiscope.data.plan import BuildOptions
from ophiscope.data.prints import PrintIndex, list_prints
from ophiscope.data.record import Record, RecordKind, Rejected, render_line
from ophiscope.ledger.disk import guard

__all__ = ["FORMAT", "MANIFEST", "REJECTED", "assemble"]

FORMAT = "ophiscope-set/1"
MANIFEST, REJECTED = "manifest.json", "rejected.jsonl"
_SHARD_RECORDS = 20_000
_MOST_OF_ONE = 0.6
"""Of yes-or-no questions of one family, at most this share may have one answer."""
_FEW = 20
"""Smaller families are left as they are."""


def assemble(journal: Journal, offsets: Any, options: BuildOptions) -> tuple[int, int]:
    """Write the shards and the manifest; gives how many records were kept and rejected.

    Raises:
        DiskFailed: If the disk refuses; the same command goes on.
    """
    folder = journal.folder
    with guard("write the set"):
        whole = _Whole(folder)
        try:
            for name, print_ in list_prints(options.against):
                whole.note_benchmark(name, print_)
            for line in journal.read(offsets):
                whole.note(line)
            shards, rejected = _Shards(folder), _Lines(folder / REJECTED)
            for line in journal.read(offsets):
                for one in line["rejected"]:
                    rejected.write(json.dumps(one, ensure_ascii=False))
                for value in line["records"]:
                    record = Record.model_validate(value)
                    why = whole.judge(record)
                    if why is None:
                        shards.write(record)
                    else:
                        lost = Rejected(
                            item=record.origin.item, stage="set", reason=why.reason, detail=why.detail, record=record
                        )
                        rejected.write(render_line(lost))
            shards.close()
            rejected.close()
        finally:
            whole.close()
        manifest = {
            "format": FORMAT,
            "version": __version__,
            "options": options.model_dump(mode="json", exclude={"budget_calls", "budget_tokens", "source", "against"}),
            "items": int((offsets >= 0).sum()),
            "records": shards.count,
            "shards": shards.files,
            "rejected": rejected.describe(),
            **shards.tell(),
        }
        part = folder / f".partial-{MANIFEST}"
        part.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
        part.replace(folder / MANIFEST)
    return shards.count, rejected.count


class _Why(NamedTuple):
    reason: str
    detail: str = ""


class _Whole:
    """What is known of all records: in a file, but for counts of answers."""

    def __init__(self, folder: Path) -> None:
        self._prints = PrintIndex(folder / ".prints.sqlite")
        self._path = folder / ".known.sqlite"
        self._path.unlink(missing_ok=True)
        self._base = sqlite3.connect(self._path)
        self._base.execute("CREATE TABLE asked (key TEXT PRIMARY KEY)")
        self._base.execute("CREATE TABLE subjects (subject TEXT PRIMARY KEY, split TEXT)")
        self._base.execute("CREATE TABLE owners (file TEXT PRIMARY KEY, subject TEXT)")
        self._base.execute("CREATE TABLE leaks (subject TEXT PRIMARY KEY, why TEXT)")
        self._answers: dict[str, Counter[str]] = {}

    def note(self, line: Mapping[str, Any]) -> None:
        """Read an item for the first time."""
        for record in line["records"]:
            origin, split = record["origin"], record.get("split", "train")
            subject = origin["subject"]
            known = self._base.execute("SELECT split FROM subjects WHERE subject = ?", (subject,)).fetchone()
            if known is None:
                self._base.execute("INSERT INTO subjects VALUES (?, ?)", (subject, split))
            elif known[0] != split:
                self._leak(subject, f"subject on both sides: {subject}")
            for file in (record["media"],) if isinstance(record["media"], str) else record["media"]:
                owner = self._base.execute("SELECT subject FROM owners WHERE file = ?", (file,)).fetchone()
                if owner is None:
                    self._base.execute("INSERT INTO owners VALUES (?, ?)", (file, subject))
                elif owner[0] != subject:
                    self._note_twin(owner[0], subject)
                print_ = line["prints"].get(file)
                if print_ and self._prints.add(file, subject, print_):
                    for _, other, similarity in self._prints.find(print_):
                        if other != subject:
                            self._note_twin(other, subject, f"similarity {similarity:.3f}")
            if record.get("answer") in ("yes", "no"):
                self._answers.setdefault(_name_family(record), Counter())[record["answer"]] += 1

    def note_benchmark(self, name: str, print_: str) -> None:
        """A picture that a benchmark holds: it counts as one of the tests."""
        subject = f"benchmark {name}"
        self._base.execute("INSERT OR IGNORE INTO subjects VALUES (?, ?)", (subject, "test"))
        self._prints.add(subject, subject, print_)

    def _note_twin(self, one: str, two: str, how: str = "the same file") -> None:
        """Two subjects that look the same: where one of them is for tests, the other may not be learned."""
        sides = {
            subject: row[0]
            for subject in (one, two)
            if (row := self._base.execute("SELECT split FROM subjects WHERE subject = ?", (subject,)).fetchone())
        }
        if set(sides.values()) == {"train", "test"}:
            learned = one if sides[one] == "train" else two
            self._leak(learned, f"{learned} looks like {two if learned == one else one} of the tests: {how}")

    def _leak(self, subject: str, why: str) -> None:
        self._base.execute("INSERT OR IGNORE INTO leaks VALUES (?, ?)", (subject, why))

    def judge(self, record: Record) -> _Why | None:
        """Why a record is left out; None where it is kept."""
        row = self._base.execute("SELECT why FROM leaks WHERE subject = ?", (record.origin.subject,)).fetchone()
        if row is not None and record.split == "train":
            return _Why("leaks over the split", row[0])
        shown = record.media_paths or (record.origin.subject,)
        key = json.dumps([record.kind, shown, record.question, sorted(record.options)])
        if not self._base.execute("INSERT OR IGNORE INTO asked VALUES (?)", (key,)).rowcount:
            return _Why("asked twice")
        return self._weigh(record)

    def _weigh(self, record: Record) -> _Why | None:
        if record.answer not in ("yes", "no"):
            return None
        counts = self._answers[_name_family(record.model_dump(mode="json"))]
        fewer = min(counts["yes"], counts["no"])
        most = _MOST_OF_ONE / (1 - _MOST_OF_ONE) * fewer
        if counts[record.answer] <= most or counts.total() < _FEW:
            return None
        if fewer == 0:
            return _Why("one answer only", f"every question of this family is answered {record.answer}")
        luck = int(hashlib.sha256(f"balance/{record.id}".encode()).hexdigest()[:12], 16) / 16**12
        return None if luck < most / counts[record.answer] else _Why("outweighs")

    def close(self) -> None:
        """Forget everything."""
        self._prints.close()
        self._base.close()
        self._path.unlink(missing_ok=True)


def _name_family(record: dict[str, Any]) -> str:
    return f"{record['kind']}/{record.get('group', '')}/{record.get('split', 'train')}"


class _Lines:
    """A file that is complete once it has its name."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f".partial-{path.name}")
        self._file: TextIO = self._part.open("w", encoding="utf-8")
        self._hash = hashlib.sha256()
        self.count = 0

    def write(self, line: str) -> None:
        content = line + "\n"
        self._file.write(content)
        self._hash.update(content.encode())
        self.count += 1

    def close(self) -> None:
        self._file.close()
        self._part.replace(self._path)

    def describe(self) -> dict[str, Any]:
        return {"file": self._path.name, "records": self.count, "sha256": self._hash.hexdigest()}


class _Shards:
    """Files of records by split, and what they hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Lines] = {}
        self._numbers: Counter[str] = Counter()
        self._kinds: Counter[RecordKind] = Counter()
        self._splits: Counter[str] = Counter()
        self._sources: Counter[tuple[str, str, str]] = Counter()
        self.files: list[dict[str, Any]] = []
        self.count = 0

    def write(self, record: Record) -> None:
        lines = self._open.get(record.split)
        if lines is None or lines.count == _SHARD_RECORDS:
            self._end(lines)
            lines = _Lines(self._folder / f"{record.split}-{self._numbers[record.split]:05d}.jsonl")
            self._numbers[record.split] += 1
            self._open[record.split] = lines
        lines.write(render_line(record))
        self._kinds[record.kind] += 1
        self._splits[record.split] += 1
        self._sources[(record.origin.source, record.origin.license, record.origin.annotation)] += 1
        self.count += 1

    def _end(self, lines: _Lines | None) -> None:
        if lines is not None:
            lines.close()
            self.files.append(lines.describe())

    def close(self) -> None:
        for lines in self._open.values():
            self._end(lines)
        self.files.sort(key=lambda file: str(file["file"]))

    def tell(self) -> dict[str, Any]:
        return {
            "kinds": dict(sorted(self._kinds.items())),
            "splits": dict(sorted(self._splits.items())),
            "sources": [
                {"source": source, "license": license_, "annotation": annotation, "records": count}
                for (source, license_, annotation), count in sorted(self._sources.items())
            ],
        }
