"""Slices of bodies with the truth at every visual token: which organ lies there, and which lesion."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.axis import AxisName
from ophiscope.core.frame import Frame
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.media.render import render_picture
from ophiscope.recipes.nano_video.frames import LABELS, LabelledFrame
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.worlds.body import Body, Ellipsoid, Middle
from ophiscope.worlds.body_draw import draw_body
from ophiscope.worlds.body_see import see_slice
from ophiscope.worlds.body_study import build_lazy_body

__all__ = ["draw_slices"]

_TOKEN_PX = 16
_CLOSE_SHARE = 0.4
_PER_BODY = 10
_PROBES = 4
"""Along each side of a token."""
_POLICY = ViewPolicy(CARD.patch_px, CARD.max_view_px, CARD.min_view_px, frame_px=CARD.frame_px)


def draw_slices(seed: int) -> Iterator[LabelledFrame]:
    """Endless axial slices of bodies, most of them through a lesion."""
    rng = np.random.default_rng([seed, 43])
    while True:
        body = draw_body(int(rng.integers(1 << 40)))
        study = build_lazy_body(body)
        assert study.stack is not None
        span = study.header.axes[0]
        for _ in range(_PER_BODY):
            at_mm = float(rng.uniform(span.start, span.end))
            if body.lesions and rng.random() < 0.7:
                low, high = body.lesions[int(rng.integers(len(body.lesions)))].extent_mm
                at_mm = float(rng.uniform(low, high))
            policy = _POLICY if rng.random() < _CLOSE_SHARE else _POLICY.of_frames
            still = study.at(study.stack.find(AxisName.AXIAL, at_mm))
            assert still.place is not None
            frame = compute_overview_frame(still.frame, policy)
            pixels = render_picture(still, frame).pixels_H_W_3
            yield LabelledFrame(pixels, _label(body, still.place.value, frame))


def _label(body: Body, at_mm: float, frame: Frame) -> NDArray[np.float32]:
    columns, rows = frame.size_wh[0] // _TOKEN_PX, frame.size_wh[1] // _TOKEN_PX
    present = np.zeros((rows, columns, len(LABELS)), np.float32)
    seen = see_slice(body, at_mm, frame)
    for part in body.parts:
        if part.organ in seen.organs:
            present[:, :, LABELS.index(part.organ.value)] = _cover_tokens(body, part.shape, at_mm, (rows, columns))
    fine = frame.scale_xy[0] <= 1.0
    if not fine:
        present[:, :, [LABELS.index(f"lesion with {middle.value}") for middle in Middle]] = np.nan
    for told in seen.lesions:
        lesion = body.lesions[told.number]
        x, y = (_find_share(body, lesion.shape.centre_mm[n], n) for n in range(2))
        token = int(y * rows), int(x * columns)
        present[(*token, LABELS.index("lesion"))] = 1.0
        if fine:
            present[(*token, LABELS.index(f"lesion with {lesion.middle.value}"))] = 1.0
    return present.reshape(-1, len(LABELS))


def _find_share(body: Body, at_mm: float, lps: int) -> float:
    """Where a position lies in an axial slice, 0 at its left or upper edge and 1 at the other."""
    grid = body.grid
    return ((at_mm - grid.origin_mm[lps]) / grid.spacing_mm[lps] + 0.5) / grid.size_ijk[lps]


def _cover_tokens(body: Body, shape: Ellipsoid, at_mm: float, rows_columns: tuple[int, int]) -> NDArray[np.bool_]:
    """Tokens of which a part lies inside."""
    width_mm, height_mm = (body.grid.spacing_mm[n] * body.grid.size_ijk[n] for n in range(2))
    rows, columns = rows_columns
    at_y, at_x = ((np.arange(count * _PROBES) + 0.5) / (count * _PROBES) for count in rows_columns)
    x = (at_x - _find_share(body, shape.centre_mm[0], 0)) * width_mm / shape.radii_mm[0]
    y = (at_y - _find_share(body, shape.centre_mm[1], 1)) * height_mm / shape.radii_mm[1]
    up = (at_mm - shape.centre_mm[2]) / shape.radii_mm[2]
    inside = x[None, :] ** 2 + y[:, None] ** 2 + up * up < 1.0
    return np.asarray(inside.reshape(rows, _PROBES, columns, _PROBES).any(axis=(1, 3)))
