"""Pictures with one bright rectangle whose box is asked: the plainest question of where, as ``doctor`` asks it."""

import numpy as np

from ophiscope.agent.probe import PROBE_QUESTION
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.region import clip_box
from ophiscope.core.result import ResultKind
from ophiscope.media.sources import build_array_study
from ophiscope.recipes.nano.real_tasks import RealAsk, RealKind, RealTask

__all__ = ["pose_mark"]

_LEAST, _MOST = 0.1, 0.5
"""Side of the rectangle, as a share of the picture's."""


def pose_mark(rng: np.random.Generator) -> RealTask:
    """A noisy dark picture of any shape with a bright rectangle."""
    w, h = (int(side) for side in rng.integers(256, 820, 2))
    shares = rng.uniform(_LEAST, _MOST, 2)
    x0, y0 = (round(float(rng.uniform(0.02, 0.98 - share)) * side) for share, side in zip(shares, (w, h), strict=True))
    x1, y1 = x0 + round(float(shares[0]) * w), y0 + round(float(shares[1]) * h)
    dark, bright = rng.uniform(10, 90, 3), rng.uniform(200, 255, 3)
    picture = np.empty((h, w, 3), np.float32)
    picture[:] = dark
    picture[y0:y1, x0:x1] = bright
    picture += rng.normal(0, float(rng.uniform(0, 12)), (h, w, 1))
    study = build_array_study(np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8))
    box = clip_box(study.frame, (float(x0), float(y0), float(x1), float(y1))).box
    key = AnswerKey(ResultKind.BOX, "box", evidence_boxes=(box,), group="mark")
    return RealTask(
        Case((study,), PROBE_QUESTION), RealAsk(RealKind.MARK, place_xyxy=(x0 / w, y0 / h, x1 / w, y1 / h)), key
    )
