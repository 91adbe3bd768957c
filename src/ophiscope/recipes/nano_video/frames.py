"""Frames with the truth at every visual token: which marks lie there, and what touches the tissue there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophiscope.recipes.nano_video.shape import FRAME_WH
from ophiscope.worlds.body import Middle, Organ
from ophiscope.worlds.procedure import Action, Instrument, Procedure, Tint
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_render import compute_camera, render_frame

__all__ = ["CLOSE_WH", "LABELS", "LabelledFrame", "draw_frames"]

CLOSE_WH = (160, 112)
"""A frame at full size: near to what ``get_frame`` shows."""
_TOKEN_PX = 16
_CLOSE_SHARE = 0.15
_PER_PROCEDURE = 12
LABELS = (
    *(action.value for action in Action),
    *(tool.value for tool in Instrument),
    *(tint.value for tint in Tint),
    *(organ.value for organ in Organ),
    "lesion",
    *(f"lesion with {middle.value}" for middle in Middle),
)
"""What may be said of a token: marks, contacts, colours of clips; organs and lesions of a body."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """A frame and what lies at each of its tokens."""

    pixels_H_W_3: NDArray[np.uint8]
    present_M_L: NDArray[np.float32]
    """1 where the middle of the thing lies in the token; NaN where the frame is too coarse to tell."""


def draw_frames(seed: int) -> Iterator[LabelledFrame]:
    """Endless frames of procedures, more of them around events than elsewhere."""
    rng = np.random.default_rng([seed, 41])
    while True:
        procedure = draw_procedure(int(rng.integers(1 << 40)), ProcedureRecipe())
        for _ in range(_PER_PROCEDURE):
            time_s = float(rng.uniform(0, procedure.duration_s))
            if procedure.events and rng.random() < 0.5:
                event = procedure.events[int(rng.integers(len(procedure.events)))]
                time_s = float(np.clip(rng.uniform(event.start_s - 3, event.end_s + 3), 0, procedure.duration_s))
            size_wh = CLOSE_WH if rng.random() < _CLOSE_SHARE else FRAME_WH
            yield _label(procedure, time_s, size_wh)


def _label(procedure: Procedure, time_s: float, size_wh: tuple[int, int]) -> LabelledFrame:
    (w, h), (root_w, root_h) = size_wh, procedure.size_wh
    columns, rows = w // _TOKEN_PX, h // _TOKEN_PX
    present = np.zeros((rows, columns, len(LABELS)), np.float32)
    scene = procedure.find_scene(time_s)
    camera_x, camera_y = compute_camera(scene, time_s)

    def mark(label: str, place: tuple[float, float]) -> None:
        column = int((place[0] - camera_x) / root_w * columns)
        row = int((place[1] - camera_y) / root_h * rows)
        if 0 <= column < columns and 0 <= row < rows:
            present[row, column, LABELS.index(label)] = 1.0

    for left in scene.marks:
        if time_s >= left.since_s:
            mark(left.action.value, left.centre_xy)
            if left.action is Action.CLIP:
                mark(left.tint.value, left.centre_xy)
    for event in procedure.events:
        if event.start_s + 0.5 <= time_s < event.end_s - 0.5:
            mark(event.instrument.value, event.place_xy)
    if size_wh == FRAME_WH:
        present[:, :, [LABELS.index(tint.value) for tint in Tint]] = np.nan
    pixels = render_frame(procedure, time_s, (0.0, 0.0, float(root_w), float(root_h)), size_wh)
    return LabelledFrame(pixels, present.reshape(-1, len(LABELS)))
