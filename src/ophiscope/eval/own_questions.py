"""Questions of one's own as a benchmark: a JSONL or CSV file with one question a row.

Fields: ``id``, ``media`` (a path or several, relative to the file), ``question``; optionally ``options``, ``answer``,
one of ``box`` (x0, y0, x1, y1 in pixels of the first medium), ``mask`` (a picture) and ``interval`` (seconds),
``group`` (what questions share: an image, a patient, a video) and ``task`` (a label for tables). A place without an
answer is what is asked for; beside an answer it is where one has to look. Without answers it is a batch run: everything
is answered, nothing is scored. In CSV a list is JSON, or its parts with ``;`` between them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, OpenedBenchmark
from ophiscope.eval.benchmarks.reading import (
    check_options,
    check_options_answer,
    list_media,
    need,
    need_text,
    parse_box,
    parse_span,
)
from ophiscope.eval.benchmarks.tables import number_rows, read_csv, read_jsonl
from ophiscope.eval.rows import FileMedium, Row, open_rows
from ophiscope.metrics.answers import normalise

__all__ = ["SUFFIXES", "build_own", "read_own"]

SUFFIXES = (".jsonl", ".csv")
_FIELDS = ("id", "media", "question", "options", "answer", "box", "mask", "interval", "group", "task")
_LISTS = ("media", "options", "box", "interval")
_UNKNOWABLE = frozenset({"cannot tell", "insufficient"})


def build_own(path: Path) -> Benchmark:
    """The benchmark of a file.

    Raises:
        WrongInput: If it is not there.
    """
    if not path.is_file():
        raise WrongInput(f"The questions {path} are not there.")
    return Benchmark(
        name=path.name, about="questions of one's own", license="one's own", open=lambda options: read_own(path),
    )  # fmt: skip


def read_own(path: Path) -> OpenedBenchmark:
    """Read the file.

    Raises:
        WrongInput: If a row is not as described above; it names the row.
    """
    raw = [_unpack(row) for row in read_csv(path)] if path.suffix.lower() == ".csv" else read_jsonl(path)
    rows = [_read(row, path.parent, where) for where, row in number_rows(raw, path.name)]
    unanswered = sum(_is_unscored(row) for row in rows)
    notes = (f"{unanswered} of {len(rows)} questions have no answer and are not scored.",) if unanswered else ()
    return open_rows(rows, notes)


def _is_unscored(row: Row) -> bool:
    return row.kind in (ResultKind.TEXT, ResultKind.OPTION) and not row.answer


def _unpack(row: Mapping[str, str]) -> dict[str, Any]:
    """Cells as values; empty ones are left out."""
    found: dict[str, Any] = {}
    for name, cell in row.items():
        if not cell.strip():
            continue
        if name not in _LISTS:
            found[name] = cell
        elif cell.strip().startswith("["):
            try:
                found[name] = json.loads(cell)
            except ValueError:
                found[name] = cell
        else:
            parts = [part.strip() for part in cell.split(";")]
            found[name] = parts if name != "options" or len(parts) > 1 else cell
    return found


def _read(row: Mapping[str, Any], folder: Path, where: str) -> Row:
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        raise WrongInput(f"{where} has unknown fields {', '.join(unknown)}; accepted are {', '.join(_FIELDS)}.")
    row = {name: value for name, value in row.items() if value is not None}
    places = [name for name in ("box", "mask", "interval") if name in row]
    if len(places) > 1:
        raise WrongInput(f"{where} has {' and '.join(places)}; one true place is accepted.")
    options = check_options(row.get("options"), where)
    answer = _read_answer(row, options, where)
    kind = _choose_kind(answer, options, places)
    if answer is None and options and places:
        raise WrongInput(f"{where} has options and a {places[0]}, and no answer; say which option is right.")
    return Row(
        id=need_text(row, "id", where),
        media=list_media(need(row, "media", where), "media", folder, where),
        question=need_text(row, "question", where),
        kind=kind,
        answer=answer if answer is not None else kind.value if places else "",
        options=options,
        mask=FileMedium(folder, need_text(row, "mask", where)) if "mask" in row else None,
        boxes=(parse_box(row["box"], where),) if "box" in row else (),
        interval_s=parse_span(row["interval"], where) if "interval" in row else None,
        cluster=str(row.get("group", "")),
        task=str(row.get("task", "")),
    )


def _read_answer(row: Mapping[str, Any], options: tuple[str, ...], where: str) -> str | None:
    answer = row.get("answer")
    if answer is None:
        return None
    if isinstance(answer, bool):
        answer = "yes" if answer else "no"
    if not isinstance(answer, str | int | float):
        raise WrongInput(f"{where}: answer is {answer!r}; one text is accepted, not several.")
    text = str(answer).strip()
    if not text:
        return None
    return check_options_answer(text, options, where) if options else text


def _choose_kind(answer: str | None, options: tuple[str, ...], places: Sequence[str]) -> ResultKind:
    if answer is None and places:
        return {"box": ResultKind.BOX, "mask": ResultKind.MASK, "interval": ResultKind.INTERVAL}[places[0]]
    if options:
        return ResultKind.OPTION
    plain = normalise(answer or "")
    if plain in ("yes", "no"):
        return ResultKind.YES_NO
    if plain in _UNKNOWABLE:
        return ResultKind.INSUFFICIENT
    return ResultKind.COUNT if plain.isascii() and plain.isdecimal() else ResultKind.TEXT
