"""Which grid shows a region: sizes a model can take without anyone resizing again."""

import math
from dataclasses import dataclass, replace

from ophiscope.core.frame import Frame
from ophiscope.core.region import Box

__all__ = ["ViewPolicy", "compute_overview_frame", "compute_zoom_frame"]


_MOST_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class ViewPolicy:
    """The picture sizes that suit a model."""

    patch_px: int
    """Sides are multiples of this."""
    max_view_px: int
    min_view_px: int
    most_frames: int = 16
    """Frames or slices that are shown at once."""
    frame_px: int | None = None
    """Pixels of each of them; ``max_view_px`` where None."""

    @property
    def of_frames(self) -> "ViewPolicy":
        """The sizes of pictures that are shown beside many others."""
        most = min(self.frame_px or self.max_view_px, self.max_view_px)
        return replace(self, max_view_px=most, min_view_px=min(self.min_view_px, most))

    def __post_init__(self) -> None:
        if self.patch_px <= 0 or self.max_view_px < self.patch_px**2 or not 0 < self.min_view_px <= self.max_view_px:
            raise ValueError(f"ViewPolicy {self} needs patch > 0 and patch**2 <= max, 0 < min <= max (pixels).")
        if self.most_frames <= 0 or (self.frame_px is not None and self.frame_px < self.patch_px**2):
            raise ValueError(f"ViewPolicy {self} needs most_frames > 0 and patch**2 <= frame_px.")


def compute_overview_frame(root: Frame, policy: ViewPolicy) -> Frame:
    """The grid on which a whole root picture is first shown.

    A whole picture cannot grow, so its sides are rounded to whole patches: the two scales differ, mostly by less than
    half a patch over the shorter side of the grid.
    """
    w, h = float(root.size_wh[0]), float(root.size_wh[1])
    columns, rows = _choose_grid((w, h), (w, h), policy)
    return root.window((0.0, 0.0, w, h), (columns * policy.patch_px, rows * policy.patch_px))


def compute_zoom_frame(root: Frame, box: Box, policy: ViewPolicy, *, context: float = 0.2) -> Frame:
    """The grid that shows ``box`` with ``context`` (a share of its sides, half on each side), aspect kept.

    The crop grows in real pixels until its aspect is that of a grid of whole patches, is moved (not cut) to stay
    inside the picture, and only where the picture itself is too small takes the picture's whole side; there alone
    the two scales differ.
    """
    if context < 0 or not math.isfinite(context):
        raise ValueError(f"Context {context!r} must be a finite share >= 0 of the box's sides.")
    x0, y0, x1, y1 = box.root_xyxy
    root_w, root_h = float(root.size_wh[0]), float(root.size_wh[1])
    w, h = min((x1 - x0) * (1 + context), root_w), min((y1 - y0) * (1 + context), root_h)
    columns, rows = _choose_grid((w, h), (root_w, root_h), policy)
    step = max(w / columns, h / rows)
    w, h = min(columns * step, root_w), min(rows * step, root_h)
    left = min(max((x0 + x1 - w) / 2, 0.0), root_w - w)
    top = min(max((y0 + y1 - h) / 2, 0.0), root_h - h)
    return root.window((left, top, left + w, top + h), (columns * policy.patch_px, rows * policy.patch_px))


def _choose_grid(wanted_wh: tuple[float, float], most_wh: tuple[float, float], policy: ViewPolicy) -> tuple[int, int]:
    """Columns and rows of patches that show ``wanted_wh`` root pixels with the least growth, stretch and loss of size.

    Every candidate costs the logarithms of how much the crop must grow, twice that of how far its scales then differ
    because it may not outgrow ``most_wh``, half that of how far it misses the wanted number of patches, and all of
    that by which it falls below the policy's least size.
    """
    (w, h), (most_w, most_h) = wanted_wh, most_wh
    patch_area = policy.patch_px**2
    most = policy.max_view_px // patch_area
    area = min(max(w * h, policy.min_view_px), policy.max_view_px) / patch_area

    def compute_cost(grid: tuple[int, int]) -> float:
        columns, rows = grid
        step = max(w / columns, h / rows)
        shown_w, shown_h = min(columns * step, most_w), min(rows * step, most_h)
        stretch = abs(math.log(shown_w * rows / (shown_h * columns)))
        growth = math.log(shown_w * shown_h / (w * h))
        lack = max(0.0, math.log(policy.min_view_px / (columns * rows * patch_area)))
        return growth + 2.0 * stretch + 0.5 * abs(math.log(columns * rows / area)) + lack

    return min(_list_grids(w / h, area, most), key=compute_cost)


def _list_grids(aspect: float, area: float, most: int) -> list[tuple[int, int]]:
    """Grids of at most ``most`` patches, around ``area`` patches, whose aspect is next to ``aspect``."""
    ideal = min(max(math.sqrt(area * aspect), 1.0), float(most))
    low, high = max(1, math.floor(ideal / 1.5)), min(most, math.ceil(1.5 * ideal))
    grids = []
    for columns in range(low, high + 1, max(1, (high - low) // _MOST_CANDIDATES)):
        least_rows = max(1, math.floor(columns / aspect))
        fitting = [rows for rows in (least_rows, least_rows + 1) if columns * rows <= most]
        grids += [(columns, rows) for rows in fitting or [max(1, most // columns)]]
    return grids
