"""A set in the forms of others: ShareGPT, OpenAI messages, and Parquet that Hugging Face ``datasets`` reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophiscope.data.episodes import describe_answer
from ophiscope.data.finished import FinishedSet
from ophiscope.data.record import Record
from ophiscope.errors import WrongInput
from ophiscope.ledger.disk import guard

__all__ = ["FORMS", "export_set"]

FORMS = ("sharegpt", "openai", "parquet")
_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
_WORDS = ("id", "kind", "split", "question", "answer", "group", "modality", "target", "difficulty", "mask")
_ROWS_A_GROUP = 500
_ROWS_A_FILE = 5_000


def export_set(finished: FinishedSet, form: str, out: Path) -> int:
    """Write a set in another form; gives how many records.

    Args:
        finished: The set.
        form: One of :data:`FORMS`.
        out: A new folder. Parquet holds its pictures; the other forms name files of the set.

    Raises:
        WrongInput: If the form is unknown or the folder holds something.
        DiskFailed: If the disk refuses.
    """
    if form not in FORMS:
        raise WrongInput(f"Unknown form {form!r}; accepted are {', '.join(FORMS)}.")
    if out.exists() and any(out.iterdir()):
        raise WrongInput(f"{out} is not empty; give a new folder.")
    with guard(f"write {out}"):
        out.mkdir(parents=True, exist_ok=True)
        return _write_parquet(finished, out) if form == "parquet" else _write_json(finished, form, out)


def _write_json(finished: FinishedSet, form: str, out: Path) -> int:
    count = 0
    files = {split: (out / f"{split}.jsonl").open("w", encoding="utf-8") for split in finished.manifest["splits"]}
    for record in finished.read():
        turns = list(_speak(record))
        images = [image for _, _, shown in turns for image in shown]
        said: list[dict[str, Any]]
        if form == "sharegpt":
            said = [{"from": _SPEAKERS[role], "value": text} for role, text, _ in turns]
            value = {"id": record.id, "conversations": said, "images": images}
        else:
            said = [_render_openai(role, text, shown) for role, text, shown in turns]
            value = {"id": record.id, "messages": said}
        files[record.split].write(json.dumps(value, ensure_ascii=False) + "\n")
        count += 1
    for file in files.values():
        file.close()
    return count


def _speak(record: Record) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The turns of an episode; of a bare question two."""
    if record.turns:
        yield from ((turn.role, turn.text, turn.images) for turn in record.turns)
        return
    listed = "".join(f"\n{chr(65 + index)}. {option}" for index, option in enumerate(record.options))
    yield "user", "<image>" * len(record.images) + record.question + listed, record.images
    yield "assistant", describe_answer(record), ()


def _render_openai(role: str, text: str, images: tuple[str, ...]) -> dict[str, Any]:
    """Text and pictures in their order; files by a path inside the set, to be made data URIs by who sends them."""
    if not images:
        return {"role": role, "content": text}
    parts: list[dict[str, Any]] = []
    for index, piece in enumerate(text.split("<image>")):
        if piece:
            parts.append({"type": "text", "text": piece})
        if index < len(images):
            parts.append({"type": "image_url", "image_url": {"url": images[index]}})
    return {"role": role, "content": parts}


def _write_parquet(finished: FinishedSet, out: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise WrongInput("Parquet needs pyarrow; install ophiscope[data].") from None
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            *((word, pa.string()) for word in _WORDS),
            ("options", pa.list_(pa.string())),
            ("images", pa.list_(image)),
            ("boxes", pa.list_(pa.list_(pa.float64()))),
            ("interval_s", pa.list_(pa.float64())),
            ("source", pa.string()),
            ("license", pa.string()),
            ("turns", pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))),
        ]
    ).with_metadata({"huggingface": json.dumps({"info": {"features": _FEATURES}})})
    count = 0
    for split in finished.manifest["splits"]:
        rows: list[dict[str, Any]] = []
        writer, written, number = None, 0, 0
        for record in finished.read():
            if record.split != split:
                continue
            rows.append(_build_row(record, finished.folder))
            count += 1
            if len(rows) == _ROWS_A_GROUP:
                writer = writer or pq.ParquetWriter(out / f"{split}-{number:05d}.parquet", schema)
                writer.write_table(pa.Table.from_pylist(rows, schema))
                written, rows = written + len(rows), []
            if writer is not None and written >= _ROWS_A_FILE:
                writer.close()
                writer, written, number = None, 0, number + 1
        if rows:
            writer = writer or pq.ParquetWriter(out / f"{split}-{number:05d}.parquet", schema)
            writer.write_table(pa.Table.from_pylist(rows, schema))
        if writer is not None:
            writer.close()
    return count


def _build_row(record: Record, folder: Path) -> dict[str, Any]:
    shown = [image for turn in record.turns for image in turn.images] or list(record.images)
    return {
        **{word: getattr(record, word) or "" for word in _WORDS},
        "options": list(record.options),
        "images": [{"bytes": (folder / path).read_bytes(), "path": path} for path in shown],
        "boxes": [list(box) for box in record.boxes],
        "interval_s": list(record.interval_s or ()),
        "source": record.origin.source,
        "license": record.origin.license,
        "turns": [{"role": turn.role, "text": turn.text} for turn in record.turns],
    }


_TEXT = {"dtype": "string", "_type": "Value"}
_NUMBER = {"dtype": "float64", "_type": "Value"}
_FEATURES: dict[str, Any] = {
    **dict.fromkeys(
        ("id", "kind", "split", "question", "answer", "group", "modality", "target", "difficulty", "mask"), _TEXT
    ),
    "options": {"feature": _TEXT, "_type": "List"},
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "boxes": {"feature": {"feature": _NUMBER, "_type": "List"}, "_type": "List"},
    "interval_s": {"feature": _NUMBER, "_type": "List"},
    "source": _TEXT,
    "license": _TEXT,
    "turns": {"feature": {"role": _TEXT, "text": _TEXT}, "_type": "List"},
}
"""How ``datasets`` (5.x) names the columns: pictures are decoded."""
