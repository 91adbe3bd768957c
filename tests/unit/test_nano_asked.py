"""Questions in words that a user would choose: one of two lesions, any name, a header that says how it was made."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from ophiscope.agent.collect import collect_episode
from ophiscope.core.action import Call
from ophiscope.core.case import Case
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.result import ResultKind
from ophiscope.data.seg_pack import Annotation, SegRow, Split
from ophiscope.eval.items import EvalItem
from ophiscope.protocol.grammar import parse_reply, render_answer, render_call
from ophiscope.recipes.nano.items import list_choice_sources, list_named_sources
from ophiscope.recipes.nano.named import FOREIGN, build_headed_study
from ophiscope.recipes.nano.real_pictures import RealPicture
from ophiscope.recipes.nano.stream import draw_task
from ophiscope.recipes.nano.tasks import CARD, build_setup, draw_real_task, write_trajectory
from ophiscope.recipes.nano.wordings import reword, say_of_two
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.nano_seg_net import TARGETS


def build_picture(modality: str, *, grey: bool) -> RealPicture:
    row = SegRow(
        "a.png", "a_mask.png", modality, "colon", "polyp", "polyp", (0, 0, 64, 64), 4096, "none", "CC0-1.0",
        Annotation.HUMAN, Split.TRAIN,
    )  # fmt: skip
    shape = (64, 64) if grey else (64, 64, 3)
    pixels = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    return RealPicture(pixels, (row,), {} if grey else {"polyp": np.eye(64, dtype=bool)})


PICTURES = (build_picture("endoscopy", grey=False), build_picture("CT", grey=True), build_picture("X-Ray", grey=True))


def test_a_question_is_said_in_other_words_that_mean_the_same() -> None:
    assert say_of_two("Outline the larger lesion.") == "Outline the larger of the two lesions."
    assert say_of_two("Is there a lesion in the left lung?") == "Is there a lesion in the left lung?"
    rng = np.random.default_rng(0)
    said = Counter(reword("Outline the larger lesion.", rng) for _ in range(400))
    assert 150 < said["Outline the larger lesion."] < 250
    assert said["Outline the larger of the two lesions."] > 20
    assert any(words.startswith("outline") for words in said)
    assert any(words.endswith("lesions") for words in said)
    assert all("larger" in words and words.casefold().startswith("outline the") for words in said)


def test_a_choice_is_between_two_lesions_that_are_there() -> None:
    wordings = Counter[bool]()
    for source in list_choice_sources(8, first_seed=10_000_000, whole=False):
        item = source.build()
        wordings["of the two lesions" in item.case.question] += 1
        (box,) = item.key.evidence_boxes
        assert item.key.kind in (ResultKind.MASK, ResultKind.BOX)
        assert item.key.kind is ResultKind.BOX or (item.key.mask is not None and box is not None)
    assert wordings == {True: 4, False: 4}
    assert draw_task(5, "choice", ()).case.question == draw_task(5, "choice", ()).case.question


def test_what_is_asked_for_is_what_the_tool_is_asked_for() -> None:
    segmenter = build_segmenter("nano-seg")
    known = unknown = 0
    for seed in range(60):
        task = draw_real_task(seed, "named", PICTURES)
        outcome = write_trajectory(task, segmenter)
        calls = [action for reply in outcome.replies if isinstance(action := parse_reply(reply.text), Call)]
        if not calls:
            assert task.key.group == "real modality"
            continue
        (call,) = calls
        name = str(call.arguments["target"])
        assert name in task.case.question
        assert outcome.answer is not None
        if name in TARGETS:
            known += 1
            assert outcome.answer.cited == ("E1",)
        else:
            unknown += 1
            assert (outcome.answer.text, outcome.answer.cited) == ("cannot tell", ())
    assert min(known, unknown) >= 10
    assert not set(FOREIGN) & set(TARGETS)


def test_a_header_says_how_a_picture_was_made_unless_that_is_held_out() -> None:
    grey = PICTURES[1].pixels
    headed = build_headed_study(grey, "CT")
    assert headed.header.modality == "CT"
    assert np.asarray(headed.source.read_root()).dtype == np.uint16
    assert headed.header.default_window is not None
    assert build_headed_study(PICTURES[0].pixels, "endoscopy").header.modality == "ES"
    assert build_headed_study(grey, "X-Ray").header.modality is None


class Says:
    """A model that asks the tool for one name and then gives one answer."""

    card: ModelCard = CARD

    def __init__(self, name: str, answer: str) -> None:
        call = Call("segment_text", {"view": 1, "target": name}, think="A tool must check this.")
        self._replies = [render_call(call), render_answer(answer)]

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self._replies.pop(0), FinishReason.STOP) for _ in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""


def find_item(name: str, pictures: Sequence[RealPicture]) -> EvalItem:
    segmenter = build_segmenter("nano-seg")
    sources = list_named_sources(400, first_seed=10_000_000, pictures=pictures, segmenter=segmenter)
    for source in sources:
        case: Case = draw_real_task(int(source.name.split("-")[1]), "named", pictures, augment=False).case
        if f" {name}" in case.question and case.question.startswith(("Is", "Does", "Do")):
            return source.build()
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("asked", "answer", "right"), [("ovary", "cannot tell", True), ("ovary", "no", False), ("polyp", "no [E1]", False)]
)
def test_an_answer_about_another_name_is_wrong(asked: str, answer: str, right: bool) -> None:
    item = find_item("ovary", PICTURES)
    segmenter = build_segmenter("nano-seg")
    outcome = collect_episode(item.case, Says(asked, answer), build_setup(item.case, segmenter), session="s")
    assert item.judge(outcome, item.key).correct is right
