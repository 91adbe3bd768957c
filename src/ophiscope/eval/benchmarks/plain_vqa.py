"""Sets at the hub that hold no more than image, question and answer in parquet files."""

from ophiscope.core.result import ResultKind
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import list_media, name_content, need, need_text, tidy_answer
from ophiscope.eval.benchmarks.tables import number_rows, read_parquet
from ophiscope.eval.rows import Row

__all__ = ["CLOSED_INFERRED", "choose_kind", "read_plain_vqa", "say"]

CLOSED_INFERRED = "those answered yes or no"


def read_plain_vqa(data: DataFolder) -> list[Row]:
    """The test split; a question is closed where its answer is yes or no, as nothing else tells.

    Raises:
        WrongInput: If the files or a field are missing or odd.
    """
    rows: list[Row] = []
    raw = read_parquet(data.root, "data/test-*.parquet", "test-*.parquet", "test*.parquet")
    for where, row in number_rows(raw, "test"):
        medium = list_media(need(row, "image", where), "image", data.root, where)[0]
        answer = tidy_answer(need_text(row, "answer", where)).lower()
        kind = choose_kind(answer)
        closed = kind is ResultKind.YES_NO
        question = Row(
            id=str(len(rows)), media=(medium,), question=need_text(row, "question", where), answer=answer,
            kind=kind, cluster=name_content(medium), task="closed" if closed else "open", tags={"closed": say(closed)},
        )  # fmt: skip
        rows.append(question)
    return rows


def choose_kind(answer: str) -> ResultKind:
    """Yes or no where that is all that the answer says."""
    return ResultKind.YES_NO if answer.lower() in ("yes", "no") else ResultKind.TEXT


def say(value: bool) -> str:
    """As a tag."""
    return "yes" if value else "no"
