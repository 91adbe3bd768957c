"""Questions about real pictures by any name that a user may write, and about pictures that say how they were made.

What is asked for has to be what the tool is asked for: a name that no tool knows is refused by the tool, and never
replaced by one that it knows. And a header that names a modality, as that of a DICOM file does, is believed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.core.window import Window
from ophiscope.media.sources import build_array_study
from ophiscope.recipes.nano.real_pictures import RealPicture, crop_picture, draw_picture, get_modality
from ophiscope.recipes.nano.real_tasks import (
    MODALITY_WORDS,
    RealAsk,
    RealKind,
    RealTask,
    build_key,
    phrase_question,
)
from ophiscope.tools.segmenters.nano_seg_net import TARGETS
from ophiscope.worlds.pick import pick

__all__ = ["FOREIGN", "build_headed_study", "pose_named"]

FOREIGN = (
    *("fracture", "pneumothorax", "aneurysm", "kidney stone", "catheter", "hernia", "stent", "abscess", "hematoma"),
    *("appendix", "thyroid nodule", "lymph node", "metastasis", "pleural effusion", "pacemaker", "ulcer", "scar"),
    *("tooth", "optic disc", "macula", "diverticulum", "foreign body", "suture", "clip", "forceps", "thrombus"),
    *("cataract", "bleeding", "edema", "infarct", "ventricle", "meniscus", "tendon", "nerve", "fetus", "placenta"),
    *("goiter", "lipoma", "osteophyte", "embolus", "varix", "cyst wall", "calculus", "implant", "wart", "mole"),
)
"""Names that nano-seg does not know."""
_UNSEEN = ("gallstone", "bronchus", "ovary", "tonsil", "cartilage", "parasite", "needle", "uterus", "drain", "tattoo")
"""More of them, for tests alone."""
_CODES = {"CT": "CT", "MRI": "MR", "ultrasound": "US", "endoscopy": "ES"}
"""DICOM modality of what the pack holds; an X-ray never says what it is, as its code is held out of training."""
_CT_WINDOW, _CT_INTERCEPT = Window(40.0, 400.0), -1024.0
_SYLLABLES = ("ba", "cor", "den", "fi", "gal", "ho", "ka", "lim", "mo", "nu", "per", "ra", "sto", "tu", "ver", "zi")
_HEADED = 0.6
_ABOUT_MODALITY = 0.2
_NO_HUMAN_MASKS = ("CT", "MRI")


def pose_named(rng: np.random.Generator, pictures: Sequence[RealPicture], *, augment: bool) -> RealTask:
    """Draw a name, known or not, and ask whether it is there or for its outline; or ask how the picture was made."""
    picture = draw_picture(rng, pictures, get_modality)
    pixels, masks = crop_picture(rng, picture, augment=augment, free_of=())
    study = build_headed_study(pixels, get_modality(picture) if rng.uniform() < _HEADED else "")
    if rng.uniform() < _ABOUT_MODALITY:
        ask = RealAsk(RealKind.MODALITY, plain=MODALITY_WORDS[get_modality(picture)])
        key = build_key(ask, study, masks, options=False)
        return RealTask(Case((study,), phrase_question(rng, ask.kind.value, "polyp")), ask, key)
    name = _draw_name(rng, tuple(masks), FOREIGN if augment else _UNSEEN)
    kind = RealKind.PRESENCE if rng.uniform() < 0.6 else RealKind.OUTLINE
    ask = RealAsk(kind, name)
    key = build_key(ask, study, masks, options=False)
    if name not in TARGETS or (name not in masks and get_modality(picture) in _NO_HUMAN_MASKS):
        key = AnswerKey(ResultKind.INSUFFICIENT, "cannot tell", needed_tools=("segment_text",), least_calls=1)
    return RealTask(Case((study,), phrase_question(rng, kind.value, name)), ask, key)


def build_headed_study(pixels: NDArray[np.uint8], modality: str) -> Study:
    """A study as a DICOM file of the pack's ``modality`` would give it; as a plain picture where it has no code."""
    code = _CODES.get(modality)
    if code != "CT" or pixels.ndim == 3:
        return build_array_study(pixels, modality=code)
    low, high = _CT_WINDOW.center - _CT_WINDOW.width / 2, _CT_WINDOW.center + _CT_WINDOW.width / 2
    stored = np.rint(low + pixels.astype(np.float64) * ((high - low) / 255.0) - _CT_INTERCEPT).astype(np.uint16)
    return build_array_study(stored, modality=code, slope_intercept=(1.0, _CT_INTERCEPT), default_window=_CT_WINDOW)


def _draw_name(rng: np.random.Generator, there: Sequence[str], foreign: Sequence[str]) -> str:
    luck = rng.uniform()
    if luck < 0.15 and there:
        return pick(rng, tuple(there))
    if luck < 0.65:
        return pick(rng, TARGETS)
    if luck < 0.85:
        return pick(rng, foreign)
    return "".join(pick(rng, _SYLLABLES) for _ in range(int(rng.integers(2, 5))))
