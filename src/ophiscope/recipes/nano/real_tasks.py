"""Questions about real pictures of the segmentation pack, and how a careful reader answers them.

Modality and site are plain in the overview and answered at once. Whether a target is there, where, and how large is
never read off the overview: ``segment_text`` says it, and the answer follows what it said, right or wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ModelCard
from ophiscope.core.message import Message
from ophiscope.core.region import Mask
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.media.sources import build_array_study
from ophiscope.recipes.nano.real_pictures import RealPicture, crop_picture
from ophiscope.worlds.decide import Look, Step
from ophiscope.worlds.looking import Speaker
from ophiscope.worlds.oracle import read_looks, render_step
from ophiscope.worlds.percepts import Seen

__all__ = [
    "BOXED",
    "BOX_QUESTION",
    "MODALITY_WORDS",
    "REAL_THOUGHTS",
    "TARGETS",
    "RealAsk",
    "RealKind",
    "RealTask",
    "build_key",
    "build_real_oracle",
    "phrase_question",
    "pose_real",
]

MODALITY_WORDS = {
    "CT": "CT", "MRI": "MRI", "X-Ray": "X-ray", "ultrasound": "ultrasound", "endoscopy": "endoscopy",
    "dermoscopy": "dermoscopy", "fundus": "fundus photograph", "electron microscopy": "electron microscopy",
    "pathology": "pathology", "brightfield microscopy": "brightfield microscopy",
    "fluorescence microscopy": "fluorescence microscopy",
}  # fmt: skip
SITE_WORDS = {
    "colon": "colon", "breast": "breast", "skin": "skin", "retina": "retina", "cell": "cells", "neuron": "neurons",
    "chest": "chest", "abdomen": "abdomen", "whole body": "trunk",
}  # fmt: skip
TARGETS = ("polyp", "breast tumor", "skin lesion", "nuclei", "retinal vessels", "cell membrane", "lung")
"""What has human masks."""
BOX_QUESTION = "Where is the {t}? Answer with its box."
BOXED = ("polyp", "breast tumor", "skin lesion")
"""Targets that are one thing in one place, plain enough to be boxed by eye."""
_FOREIGN = ("fracture", "pneumothorax", "aneurysm", "kidney stone", "catheter", "hernia")
_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
_WORDS: dict[str, tuple[str, ...]] = {
    "modality": (
        "What kind of image is this?", "What modality is this?", "Which imaging modality was used?",
        "How was this image made?",
    ),
    "site": ("Which part of the body is shown?", "What body part is this?", "Which organ or tissue is shown?"),
    "presence": (
        "Is there {a}?", "Is {a} present?", "Does the image show {a}?", "Do you see {a}?", "Is {a} visible here?",
    ),
    "where": ("Where is the {t}?", "In which quarter of the image is the {t}?"),
    "box": (BOX_QUESTION, "Give the box of the {t}.", "In which box is the {t}?"),
    "share": ("How large a share of the image is the {t}?", "What share of the image does the {t} cover?"),
    "outline": ("Segment the {t}.", "Outline the {t}.", "Mark the {t}.", "Delineate the {t}."),
    "kind": ("Is the tumor benign or malignant?", "Is this breast tumor benign or malignant?"),
    "mosaic": ("Is there {a} in the {m} image?", "Does the {m} image show {a}?"),
    "mosaic_outline": ("Segment the {t} in the {m} image.", "Outline the {t} in the {m} image."),
    "tile": ("Where is the {m} image? Answer with its box.", "Give the box of the {m} image."),
}  # fmt: skip
REAL_THOUGHTS = (
    "A tool must check this.", "The tool finds none.", "The tool finds it.", "The tool gives no place.",
    "Its place is clear.", "Now its area.", "The measure says it.", "Look at it closely.", "It looks benign.",
    "It looks malignant.", "No tool knows this target.", "That image is a small part here.", "no", "yes",
    "none was found", "cannot tell", "of the image",
)  # fmt: skip
"""Everything that :func:`decide_real` says beside what is asked; for the words of the tokenizer."""


class RealKind(StrEnum):
    """What is asked of a real picture."""

    MODALITY = "modality"
    SITE = "site"
    PRESENCE = "presence"
    WHERE = "where"
    BOX = "box"
    SHARE = "share"
    OUTLINE = "outline"
    KIND = "kind"
    MARK = "mark"
    MOSAIC = "mosaic"
    MOSAIC_OUTLINE = "mosaic_outline"
    TILE = "tile"
    """Where in a mosaic the picture of one modality is: the first half of every question about a mosaic."""


@dataclass(frozen=True, slots=True)
class RealAsk:
    """What the question means, and what is plain to see in the picture."""

    kind: RealKind
    target: str = ""
    plain: str = ""
    """The word that the overview (or, for ``kind``, the zoom) shows to anyone."""
    place_xyxy: tuple[float, float, float, float] | None = None
    """In shares of the picture's sides: of a mosaic the tile of the asked modality, else what is to be boxed by eye."""


class RealTask(NamedTuple):
    """A question about a real picture: for the model, its meaning, and the truth."""

    case: Case
    ask: RealAsk
    key: AnswerKey


def build_real_oracle(ask: RealAsk, card: ModelCard) -> Speaker:
    """Who answers one question about a real picture from what tools say."""

    def say(messages: Sequence[Message]) -> str:
        looks = read_looks(messages, lambda view: Seen("", view.picture.frame.size_wh, (), ()))
        return render_step(decide_real(ask, looks), messages, card.coords)

    return Speaker(card, say)


_MOSAICS = (RealKind.MOSAIC, RealKind.MOSAIC_OUTLINE)


def decide_real(ask: RealAsk, looks: Sequence[Look]) -> Step:
    """The next step; a function of the question, of what is plain in the picture, and of what tools said."""
    if ask.kind in (RealKind.MODALITY, RealKind.SITE):
        return Step("The overview is enough.", None, ask.plain)
    w, h = looks[0].views[0][1].size_wh
    x0, y0, x1, y1 = ask.place_xyxy or (0.0, 0.0, 1.0, 1.0)
    place = (x0 * w, y0 * h, x1 * w, y1 * h)
    if ask.kind in (RealKind.MARK, RealKind.BOX, RealKind.TILE):
        return Step("The overview is enough.", None, None, place)
    facts = looks[-1].facts
    if "error" in facts:
        return Step("No tool knows this target.", None, "cannot tell")
    if ask.kind in _MOSAICS and len(looks) == 1:
        return Step("That image is a small part here.", ("zoom_in", {"view": 1, "box": place}), None)
    last_view = looks[-1].views[-1][0] if looks[-1].views else 1
    if "present" not in facts and not any("present" in look.facts for look in looks):
        return Step("A tool must check this.", ("segment_text", {"view": last_view, "target": ask.target}), None)
    return _conclude(ask, looks)


def _conclude(ask: RealAsk, looks: Sequence[Look]) -> Step:
    found = next(look for look in looks if "present" in look.facts)
    cite = f" [{found.evidence}]"
    yes_no = ask.kind in (RealKind.PRESENCE, RealKind.MOSAIC)
    if not found.facts["present"]:
        return Step("The tool finds none.", None, ("no" if yes_no else "none was found") + cite)
    if yes_no:
        return Step("The tool finds it.", None, "yes" + cite)
    box = found.facts.get("box")
    if not isinstance(box, list):
        return Step("The tool gives no place.", None, "cannot tell" + cite)
    if ask.kind in (RealKind.OUTLINE, RealKind.MOSAIC_OUTLINE):
        return Step("The tool finds it.", None, "mask" + cite)
    if ask.kind is RealKind.WHERE:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return Step("Its place is clear.", None, _QUADRANTS[(x >= 500) + 2 * (y >= 500)] + cite)
    if ask.kind is RealKind.SHARE:
        if looks[-1] is found:
            return Step("Now its area.", ("measure", {"evidence": found.evidence}), None)
        return Step("The measure says it.", None, f"{looks[-1].facts.get('area_share')} of the image{cite}")
    if looks[-1] is found:  # benign or malignant
        w, h = looks[0].views[0][1].size_wh
        pixels = (box[0] * w / 1000, box[1] * h / 1000, box[2] * w / 1000, box[3] * h / 1000)
        return Step("Look at it closely.", ("zoom_in", {"view": 1, "box": pixels}), None)
    return Step(f"It looks {ask.plain}.", None, f"{ask.plain} [{looks[-1].evidence}]")


def pose_real(rng: np.random.Generator, picture: RealPicture, *, augment: bool) -> RealTask:
    """Draw a question about a picture, or about a crop of it that may leave the target out."""
    first = picture.rows[0]
    targets = [target for target in picture.masks if target in TARGETS]
    choices = [RealKind.MODALITY, RealKind.SITE]
    choices += [RealKind.PRESENCE] * 5 + (
        [*[RealKind.WHERE] * 2, RealKind.SHARE, *[RealKind.OUTLINE] * 3] if targets else []
    )
    graded = [name for name in picture.masks if name.startswith(("benign", "malignant"))]
    choices += [RealKind.KIND] * 3 if graded else []
    kind = choices[int(rng.integers(len(choices)))]
    free = kind in (RealKind.PRESENCE, RealKind.WHERE, RealKind.OUTLINE) and rng.uniform() < 0.4
    pixels, masks = crop_picture(rng, picture, augment=augment, free_of=targets if free else [])
    boxed = [name for name in targets if name in BOXED and masks[name].any()]
    kind = RealKind.BOX if kind is RealKind.WHERE and boxed and rng.uniform() < 0.6 else kind
    study = build_array_study(pixels)
    target = targets[int(rng.integers(len(targets)))] if targets else "polyp"
    if kind is RealKind.PRESENCE and rng.uniform() < 0.25:
        others = TARGETS if rng.uniform() < 0.7 else _FOREIGN
        target = others[int(rng.integers(len(others)))]
    plain = {RealKind.MODALITY: MODALITY_WORDS[first.modality], RealKind.SITE: SITE_WORDS[first.site]}.get(kind, "")
    if kind is RealKind.KIND:
        target, plain = "breast tumor", graded[0].split(maxsplit=1)[0]
    place = None
    if kind is RealKind.BOX:
        target = boxed[0]
        place = _compute_place(masks[target])
    ask = RealAsk(kind, target, plain, place)
    options: tuple[str, ...] = ()
    if kind in (RealKind.MODALITY, RealKind.KIND) and rng.uniform() < 0.5:
        words = ("benign", "malignant") if kind is RealKind.KIND else _draw_modalities(rng, plain)
        options = tuple(words[int(i)] for i in rng.permutation(len(words)))
    case = Case((study,), phrase_question(rng, kind.value, target), options)
    return RealTask(case, ask, build_key(ask, study, masks, options=bool(options)))


def _draw_modalities(rng: np.random.Generator, right: str) -> tuple[str, ...]:
    others = [word for word in MODALITY_WORDS.values() if word != right]
    return (right, *(others[int(i)] for i in rng.choice(len(others), 3, replace=False)))


def phrase_question(rng: np.random.Generator, kind: str, target: str, modality: str = "") -> str:
    """One of the ways to ask for ``kind``; ``modality`` names the picture of a mosaic."""
    words = _WORDS[kind]
    plural = target.endswith(("nuclei", "vessels"))
    article = target if plural else f"{'an' if target[0] in 'aeiou' else 'a'} {target}"
    text = words[int(rng.integers(len(words)))].format(t=target, a=article, m=modality)
    return text.replace("Is there nuclei", "Are there nuclei").replace("Is nuclei", "Are nuclei") if plural else text


def _compute_place(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The tight box of a mask, in shares of the picture's sides."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    h, w = mask.shape
    return float(columns[0] / w), float(rows[0] / h), float((columns[-1] + 1) / w), float((rows[-1] + 1) / h)


def build_key(ask: RealAsk, study: Study, masks: dict[str, NDArray[np.bool_]], *, options: bool) -> AnswerKey:
    """The truth by the human masks of the study, at its size; ``options`` says whether the answer is one of a list."""
    mask = masks.get(ask.target)
    there = mask is not None and bool(mask.any())
    shown = Mask(study.frame, mask) if there and mask is not None else None
    boxes = (shown.box,) if shown is not None and shown.box is not None else ()
    if ask.kind in (RealKind.MODALITY, RealKind.SITE):
        return AnswerKey(ResultKind.OPTION if options else ResultKind.TEXT, ask.plain, group=f"real {ask.kind.value}")
    tools: tuple[str, ...] = ("segment_text",)
    if ask.kind is RealKind.BOX:
        return AnswerKey(ResultKind.BOX, "box", shown, boxes, group="real box")
    if ask.kind in (RealKind.PRESENCE, RealKind.MOSAIC):
        text, kind = ("yes" if there else "no"), ResultKind.YES_NO
    elif ask.kind is RealKind.KIND:
        text, kind = ask.plain, ResultKind.OPTION if options else ResultKind.TEXT
        tools = ("segment_text", "zoom_in")
    elif not there:
        text, kind = "none was found", ResultKind.TEXT
    elif ask.kind is RealKind.SHARE and shown is not None:
        share = shown.area_root_px / (study.header.size_wh[0] * study.header.size_wh[1])
        text, kind, tools = f"{share:.3g} of the image", ResultKind.TEXT, ("segment_text", "measure")
    elif ask.kind is RealKind.WHERE and boxes:
        x, y = (boxes[0].x0 + boxes[0].x1) / 2, (boxes[0].y0 + boxes[0].y1) / 2
        w, h = study.header.size_wh
        text, kind = _QUADRANTS[(x >= w / 2) + 2 * (y >= h / 2)], ResultKind.TEXT
    else:
        text, kind = "mask", ResultKind.MASK
    if ask.kind in _MOSAICS:
        tools = ("zoom_in", *tools)
    return AnswerKey(
        kind, text, shown, boxes, needed_tools=tools, least_calls=len(tools), group=f"real {ask.kind.value}"
    )
