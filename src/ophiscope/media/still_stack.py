"""A stack whose pictures are opened one by one: slices of a volume, a folder of frames, frames drawn on demand."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.study import Study, StudyHeader, Surveyed
from ophiscope.media.line import PictureLine

__all__ = ["StillStack", "build_stack_study"]

_KEPT_BYTES = 128 << 20


class StillStack:
    """A :class:`~ophiscope.core.study.PictureStack` over any pictures that can be opened by their place.

    Pictures stay open as long as there is room.

    Args:
        study: Handle of the study, for messages.
        lines: The pictures along every axis; the overview goes along the first.
        open_still: Opens one as a still study whose root is that of the whole and the place's selector.
    """

    def __init__(self, study: str, lines: Mapping[AxisName, PictureLine], open_still: Callable[[Place], Study]) -> None:
        self._study, self._lines, self._open_still = study, dict(lines), open_still
        self._kept: OrderedDict[str, Study] = OrderedDict()
        self._kept_bytes = 0

    def find(self, axis: AxisName, value: float) -> Place:
        """See :meth:`ophiscope.core.study.PictureStack.find`."""
        line = self._line(axis)
        return line.place(line.find(value))

    def spread(self, axis: AxisName, start: float, end: float, most: int) -> tuple[Place, ...]:
        """See :meth:`ophiscope.core.study.PictureStack.spread`."""
        line = self._line(axis)
        return tuple(line.place(index) for index in line.spread(start, end, most))

    def survey(self, most: int) -> Surveyed:
        """Evenly over the first axis."""
        line = next(iter(self._lines.values()))
        first, last = float(line.values_N[0]), float(line.values_N[-1])
        beyond = (last - first) / max(line.values_N.size - 1, 1) or 1.0
        return Surveyed(tuple(line.place(index) for index in line.spread(first, last + beyond, most)))

    def prefetch(self, places: Sequence[Place], size_wh: tuple[int, int]) -> None:
        """Nothing: each is opened when it is looked at."""

    def open(self, place: Place) -> Study:
        """See :meth:`ophiscope.core.study.PictureStack.open`."""
        kept = self._kept.get(place.selector)
        if kept is not None:
            self._kept.move_to_end(place.selector)
            return kept
        line = self._line(place.axis)
        if line.place(line.find(place.value)).selector != place.selector:
            raise ValueError(f"Study {self._study} has no picture {place.selector} at {place.value:g}.")
        still = replace(self._open_still(place), place=place)
        self._kept[place.selector] = still
        self._kept_bytes += _count_bytes(still.header)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= _count_bytes(self._kept.popitem(last=False)[1].header)
        return still

    def is_degraded(self, places: Sequence[Place]) -> bool:
        """See :meth:`ophiscope.core.study.PictureStack.is_degraded`."""
        return any(self.open(place).header.integrity is not None for place in places)

    def _line(self, axis: AxisName) -> PictureLine:
        if axis not in self._lines:
            raise ValueError(f"Study {self._study} has no {axis} axis.")
        return self._lines[axis]


def _count_bytes(header: StudyHeader) -> int:
    return header.size_wh[0] * header.size_wh[1] * header.channels * (2 if header.bits_stored > 8 else 1)


def build_stack_study(
    header: StudyHeader, lines: Mapping[AxisName, PictureLine], open_still: Callable[[Place], Study]
) -> Study:
    """A study over pictures that are opened by their place; its header names the axes."""
    return Study(header, stack=StillStack(header.study, lines, open_still))
