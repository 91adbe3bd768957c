"""Questions about mosaics of real pictures, in which the asked one must be found and looked at."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.region import Box, clip_box
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.media.resample import resample
from ophiscope.media.sources import build_array_study
from ophiscope.recipes.nano.real_pictures import RealPicture, crop_picture, draw_picture, get_modality
from ophiscope.recipes.nano.real_tasks import (
    MODALITY_WORDS,
    TARGETS,
    RealAsk,
    RealKind,
    RealTask,
    build_key,
    phrase_question,
)

__all__ = ["pose_mosaic", "pose_tile"]

_MOSAIC_SIDE_PX, _TILE_MOSAIC_SIDE_PX = 2048, 768
"""Of a mosaic, and of one that is not zoomed into."""


class _Mosaic(NamedTuple):
    """Pictures side by side, of which one is asked about."""

    study: Study
    target: str
    mask: NDArray[np.bool_]
    """Of the target, in the mosaic."""
    modality: str
    """Of the asked picture, and of no other."""
    place_xyxy: tuple[float, float, float, float]
    """Of the asked picture, in shares of the mosaic's sides."""

    @property
    def tile(self) -> Box:
        """The asked picture."""
        side = float(self.study.header.size_wh[0])
        x0, y0, x1, y1 = (side * share for share in self.place_xyxy)
        return clip_box(self.study.frame, (x0, y0, x1, y1)).box


def pose_mosaic(rng: np.random.Generator, pictures: Sequence[RealPicture], *, augment: bool) -> RealTask:
    """A mosaic of pictures in which one modality occurs once, and a question about what that one shows."""
    mosaic = _draw_mosaic(rng, pictures, side_px=_MOSAIC_SIDE_PX, augment=augment)
    kind = RealKind.MOSAIC if rng.uniform() < 0.6 else RealKind.MOSAIC_OUTLINE
    ask = RealAsk(kind, mosaic.target, place_xyxy=mosaic.place_xyxy)
    words = phrase_question(rng, kind.value, mosaic.target, MODALITY_WORDS[mosaic.modality])
    key = build_key(ask, mosaic.study, {mosaic.target: mosaic.mask}, options=False)
    return RealTask(Case((mosaic.study,), words), ask, replace(key, evidence_boxes=(mosaic.tile,), least_calls=2))


def pose_tile(rng: np.random.Generator, pictures: Sequence[RealPicture], *, augment: bool) -> RealTask:
    """A mosaic of pictures in which one modality occurs once, and the question where that one is."""
    mosaic = _draw_mosaic(rng, pictures, side_px=_TILE_MOSAIC_SIDE_PX, augment=augment)
    words = phrase_question(rng, RealKind.TILE.value, mosaic.target, MODALITY_WORDS[mosaic.modality])
    key = AnswerKey(ResultKind.BOX, "box", evidence_boxes=(mosaic.tile,), group="real tile")
    return RealTask(Case((mosaic.study,), words), RealAsk(RealKind.TILE, place_xyxy=mosaic.place_xyxy), key)


def _draw_mosaic(
    rng: np.random.Generator, pictures: Sequence[RealPicture], *, side_px: int, augment: bool, tiles: int = 4
) -> _Mosaic:
    graded = [picture for picture in pictures if any(target in TARGETS for target in picture.masks)]
    asked = draw_picture(rng, graded, get_modality)
    modality = get_modality(asked)
    others = [picture for picture in pictures if get_modality(picture) != modality]
    place = int(rng.integers(tiles * tiles))
    size = side_px // tiles
    canvas = np.zeros((side_px, side_px, 3), np.uint8)
    mask = np.zeros((side_px, side_px), bool)
    target = next(target for target in asked.masks if target in TARGETS)
    for index in range(tiles * tiles):
        picture = asked if index == place else draw_picture(rng, others, get_modality)
        pixels, masks = crop_picture(
            rng, picture, augment=augment, free_of=[target] if index == place and rng.uniform() < 0.4 else []
        )
        row, column = divmod(index, tiles)
        part = (slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
        box = (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))
        tile = np.asarray(resample(pixels, box, (size, size)))
        canvas[part] = tile if tile.ndim == 3 else np.clip(np.rint(tile), 0, 255)[:, :, None]
        if index == place:
            mask[part] = np.asarray(resample(masks[target].astype(np.uint8) * 255, box, (size, size))) > 127
    row, column = divmod(place, tiles)
    share = 1 / tiles
    place_xyxy = (column * share, row * share, (column + 1) * share, (row + 1) * share)
    return _Mosaic(build_array_study(canvas), target, mask, modality, place_xyxy)
