"""Test questions with the whole truth: also the outlines and shares that a key needs, and every place worth a look."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ophiscope.agent.outcome import Outcome
from ophiscope.core.action import Call
from ophiscope.core.answer_key import AnswerKey
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.phantoms import build_phantom_item, draw_phantom, judge_answer
from ophiscope.metrics.answers import Grade, GradeReason
from ophiscope.metrics.tools import Target
from ophiscope.protocol.grammar import parse_reply
from ophiscope.recipes.nano.real_pictures import RealPicture
from ophiscope.recipes.nano.tasks import Kind, draw_real_task, find_choice_seed, write_trajectory
from ophiscope.recipes.nano.wordings import say_of_two
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.worlds.domain import IN_DOMAIN, Domain

__all__ = [
    "FIRST_TEST_SEED",
    "build_real_item",
    "list_choice_sources",
    "list_named_sources",
    "list_phantom_sources",
    "list_real_sources",
]

FIRST_TEST_SEED = 10_000_000
"""Training draws below; see :mod:`ophiscope.recipes.nano.stream`."""


def build_real_item(seed: int, kind: Kind, pictures: Sequence[RealPicture]) -> EvalItem:
    """A question about a real picture (or a mosaic) as it is, not augmented."""
    task = draw_real_task(seed, kind, pictures, augment=False)
    targets = tuple(Target(box.frame.root, box.root_xyxy) for box in task.key.evidence_boxes)
    return EvalItem(task.case, task.key, targets, judge_answer)


def list_phantom_sources(
    kinds: Sequence[Kind], n: int, *, first_seed: int, domain: Domain = IN_DOMAIN, whole: bool = True
) -> list[ItemSource]:
    """``n`` questions whose kinds take turns."""

    def source(index: int) -> ItemSource:
        seed, kind = first_seed + index, kinds[index % len(kinds)]
        return ItemSource(
            f"{kind}-{seed}", lambda: build_phantom_item(draw_phantom(seed, kind, domain=domain, whole=whole))
        )

    return [source(index) for index in range(n)]


def list_choice_sources(n: int, *, first_seed: int, whole: bool = True) -> list[ItemSource]:
    """``n`` questions about one of two lesions in plain view, in two wordings that take turns."""

    def build(seed: int) -> EvalItem:
        item = build_phantom_item(draw_phantom(find_choice_seed(seed), "plain", whole=whole))
        words = item.case.question if seed % 2 else say_of_two(item.case.question)
        return replace(item, case=replace(item.case, question=words))

    return [ItemSource(f"choice-{seed}", partial(build, seed)) for seed in range(first_seed, first_seed + n)]


def list_named_sources(
    n: int, *, first_seed: int, pictures: Sequence[RealPicture], segmenter: Segmenter
) -> list[ItemSource]:
    """``n`` questions about real pictures by any name; right is to ask the tool for that name and say what it said."""

    def build(seed: int) -> EvalItem:
        task = draw_real_task(seed, "named", pictures, augment=False)
        right = write_trajectory(task, segmenter)
        said = right.answer.text if right.answer is not None else ""
        key = replace(task.key, text=said, group="named" if right.attempted_calls else "headed")

        def judge(outcome: Outcome, key: AnswerKey) -> Grade:
            if outcome.answer is None:
                return Grade(False, 0.0, GradeReason.NO_ANSWER)
            same = outcome.answer.text == key.text and _find_names(outcome) == _find_names(right)
            return Grade(same, float(same), GradeReason.COMPARED)

        return EvalItem(task.case, key, judge=judge)

    return [ItemSource(f"named-{seed}", partial(build, seed)) for seed in range(first_seed, first_seed + n)]


def _find_names(outcome: Outcome) -> list[object]:
    """What tools were asked for by name, call by call."""
    actions = [parse_reply(reply.text) for reply in outcome.replies]
    return [action.arguments.get("target") for action in actions if isinstance(action, Call)]


def list_real_sources(kind: Kind, n: int, *, first_seed: int, pictures: Sequence[RealPicture]) -> list[ItemSource]:
    """``n`` questions about real pictures."""

    def source(seed: int) -> ItemSource:
        return ItemSource(f"{kind}-{seed}", lambda: build_real_item(seed, kind, pictures))

    return [source(first_seed + index) for index in range(n)]
