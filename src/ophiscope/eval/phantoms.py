"""Drawn pictures as test questions with the whole truth: outlines, shares, and every place worth a look."""

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ModelCard
from ophiscope.core.frame import Frame
from ophiscope.core.region import Mask, clip_box
from ophiscope.eval.items import EvalItem, compute_grade
from ophiscope.metrics.answers import Grade, GradeReason
from ophiscope.metrics.tools import Target
from ophiscope.worlds.asks import Ask, AskKind, pose_question
from ophiscope.worlds.domain import IN_DOMAIN, Domain
from ophiscope.worlds.draw import Needle, draw_world
from ophiscope.worlds.looking import Speaker
from ophiscope.worlds.oracle import build_oracle
from ophiscope.worlds.render import compute_rho
from ophiscope.worlds.study import build_array_phantom, build_lazy_phantom
from ophiscope.worlds.world import Blob, Lesion, World

__all__ = [
    "Phantom",
    "build_phantom_item",
    "compute_blob_mask",
    "draw_phantom",
    "judge_answer",
    "list_asked_lesions",
]

_SHARE_ERROR = 0.25
"""A share of the image is right within this relative error."""
_SHARE = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?) of the image")


class Phantom(NamedTuple):
    """A drawn question with everything that is known of it."""

    world: World
    ask: Ask
    case: Case
    key: AnswerKey

    def build_oracle(self, card: ModelCard) -> Speaker:
        """Who answers it by looking."""
        return build_oracle(self.world, self.ask, card)


def draw_phantom(seed: int, kind: str, *, domain: Domain = IN_DOMAIN, whole: bool = True) -> Phantom:
    """A question about a phantom with its world, a pure function of its arguments; the key holds outlines too.

    Args:
        seed: Of world and question.
        kind: A :class:`~ophiscope.worlds.draw.Needle`.
        domain: Where it is drawn from.
        whole: Draw the whole picture once, as a file would be, instead of only what is looked at.
    """
    world = draw_world(seed, domain.build_recipe(kind))
    study = build_array_phantom(world) if whole else build_lazy_phantom(world)
    posed = pose_question(np.random.default_rng([seed, 17]), world, study, Needle(kind))
    return Phantom(world, posed.ask, posed.case, _complete_key(world, posed.ask, posed.key, study.frame))


def _complete_key(world: World, ask: Ask, key: AnswerKey, frame: Frame) -> AnswerKey:
    if ask.kind not in (AskKind.OUTLINE, AskKind.SHARE):
        return key
    mask = compute_blob_mask(list_asked_lesions(world, key, frame)[0].blob, frame)
    if ask.kind is AskKind.OUTLINE:
        return replace(key, mask=mask)
    share = mask.area_root_px / (frame.size_wh[0] * frame.size_wh[1])
    return replace(key, mask=mask, text=f"{share:.3g} of the image")


def list_asked_lesions(world: World, key: AnswerKey, root: Frame) -> list[Lesion]:
    """The lesions that a question is about: those at which its key says to look."""
    return [lesion for lesion in world.lesions if clip_box(root, lesion.box_xyxy).box in key.evidence_boxes]


def compute_blob_mask(blob: Blob, root: Frame) -> Mask:
    """The inside of a blob at root resolution, on its tight crop; the part outside the picture is left out."""
    x0, y0, x1, y1 = (round(value) for value in blob.box_xyxy)
    left, top = max(x0 - 1, 0), max(y0 - 1, 0)
    right, bottom = min(x1 + 1, root.size_wh[0]), min(y1 + 1, root.size_wh[1])
    xs, ys = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    inside = compute_rho(blob, xs[None, :], ys[:, None]) < 1.0
    box = (float(left), float(top), float(right), float(bottom))
    return Mask(root.window(box, (right - left, bottom - top)), inside).tight()


def _list_targets(phantom: Phantom) -> tuple[Target, ...]:
    """The places of the key; of a lesion that is searched for in an organ, the organ too."""
    places = [(box.frame.root, box.root_xyxy) for box in phantom.key.evidence_boxes]
    organ = phantom.world.organ(phantom.ask.organ) if phantom.key.group == Needle.L2.value else None
    if organ is not None:
        frame = phantom.case.studies[0].frame
        places.insert(0, (frame.root, clip_box(frame, organ.blob.bounds_xyxy).box.root_xyxy))
    return tuple(Target(root, place) for root, place in places)


def judge_answer(outcome: Outcome, key: AnswerKey) -> Grade:
    """The general rules, and for a share of the image a relative error of at most a quarter."""
    wanted = _SHARE.fullmatch(key.text)
    if wanted is None:
        return compute_grade(outcome, key)
    said = _SHARE.fullmatch(outcome.answer.text.strip()) if outcome.answer else None
    if said is None:
        return Grade(False, 0.0, GradeReason.WRONG_KIND if outcome.answer else GradeReason.NO_ANSWER)
    right, told = float(wanted[1]), float(said[1])
    within = abs(told - right) <= _SHARE_ERROR * right
    return Grade(within, float(within), GradeReason.COMPARED)


def build_phantom_item(phantom: Phantom) -> EvalItem:
    """What the runner needs of a phantom."""
    return EvalItem(phantom.case, phantom.key, _list_targets(phantom), judge_answer, build_oracle=phantom.build_oracle)
