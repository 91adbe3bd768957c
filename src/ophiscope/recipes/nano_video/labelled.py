"""The stream of labelled frames and slices that the tower learns from."""

from collections.abc import Iterator

import numpy as np
import torch

from ophiscope.recipes.nano_video.frames import LabelledFrame, draw_frames
from ophiscope.recipes.nano_video.slices import draw_slices

__all__ = ["LabelledFrames"]

_SLICE_SHARE = 0.4


class LabelledFrames(torch.utils.data.IterableDataset[list[LabelledFrame]]):
    """Batches of pictures of one size, drawn in a worker process."""

    def __init__(self, seed: int, batch: int) -> None:
        self._seed, self._batch = seed, batch

    def __iter__(self) -> Iterator[list[LabelledFrame]]:
        torch.set_num_threads(1)
        rng = np.random.default_rng([self._seed, 47])
        frames, slices = draw_frames(self._seed), draw_slices(self._seed)
        waiting: dict[tuple[int, ...], list[LabelledFrame]] = {}
        while True:
            picture = next(slices if rng.random() < _SLICE_SHARE else frames)
            group = waiting.setdefault(picture.pixels_H_W_3.shape, [])
            group.append(picture)
            if len(group) == self._batch:
                yield waiting.pop(picture.pixels_H_W_3.shape)
