"""OmniMedVQA (Hu et al. 2024): choices about pictures of 73 classification sets; the open-access part.

``QA_information/Open-access/*.json`` (dataset, question_id, question_type, question, gt_answer, image_path,
option_A .. option_D, modality_type) and the pictures that ``image_path`` names, unpacked or in the zip of the hub. All
files are read: harnesses that take a few of the parts, or a mirror, have other numbers, so n is printed. Questions have
two to four options and chance lies between 25 and 50 %; the notes say where. The questions are made from templates
over class labels, and wrong options are often implausible: put the question-only run beside any number.
"""

from collections import Counter
from typing import Final

from ophiscope.core.result import ResultKind
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import Fields, check_options, check_options_answer, need_text
from ophiscope.eval.benchmarks.tables import number_rows, parse_json
from ophiscope.eval.mcq import QUESTION_TYPE
from ophiscope.eval.rows import Row, open_rows

__all__ = ["BENCHMARK"]

_FILES = ("QA_information/Open-access/*.json", "OmniMedVQA/QA_information/Open-access/*.json")
_LETTERS = "ABCD"


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    names = data.need(*_FILES)
    rows = [
        _read(row, where, data)
        for name in names
        for where, row in number_rows(parse_json(data.read(name), name), name.rpartition("/")[2])
    ]
    many = Counter(len(row.options) for row in rows)
    chance = sum(n / size for size, n in many.items()) / max(len(rows), 1)
    spread = ", ".join(f"{n} with {size}" for size, n in sorted(many.items()))
    notes = (
        f"n = {len(rows)} from {len(names)} files, open access; options: {spread}; chance is {100 * chance:.1f} %.",
    )
    return open_rows(rows, notes)


def _read(row: Fields, where: str, data: DataFolder) -> Row:
    options = check_options([row[f"option_{x}"] for x in _LETTERS if row.get(f"option_{x}") is not None], where)
    image, source = need_text(row, "image_path", where), need_text(row, "dataset", where)
    return Row(
        id=f"{source}/{need_text(row, 'question_id', where)}",
        media=(data.get_medium(image, "", "OmniMedVQA"),),
        question=need_text(row, "question", where),
        kind=ResultKind.OPTION,
        answer=check_options_answer(need_text(row, "gt_answer", where), options, where),
        options=options,
        cluster=image,
        task=need_text(row, "question_type", where),
        tags={
            "modality": need_text(row, "modality_type", where), "dataset": source,
            QUESTION_TYPE: need_text(row, "question_type", where), "options": str(len(options)),
        },
    )  # fmt: skip


BENCHMARK: Final = Benchmark(
    name="omnimedvqa",
    about="about 88,996 open-access choices of 2 to 4 options over many modalities",
    license="none for the whole; per source",
    open=_open,
    hub="foreverbeliever/OmniMedVQA",
)
