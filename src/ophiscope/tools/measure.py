"""measure: numbers of a mask that is already evidence: area, extent, centroid, mean value, and millimetres where known.

Lengths are taken between outer corners of pixels. The longest diameter is the greatest distance between two points of
the mask (the maximal Feret diameter): it lies between two corners of the convex hull, found with Andrew's
monotone chain (1979).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ophiscope.core.evidence import EvidenceKind, Finding, Measurement
from ophiscope.core.region import Mask
from ophiscope.core.study import Study
from ophiscope.tools.arguments import Arguments, EvidenceId
from ophiscope.tools.refs import find_evidence, find_mask, find_outlined
from ophiscope.tools.segmenting import compute_area_share
from ophiscope.tools.tool import Fact, Look, Observation

__all__ = ["Measure", "MeasureArguments", "compute_longest", "compute_mean"]

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Grey level of a colour pixel (ITU-R BT.601)."""


class MeasureArguments(Arguments):
    """What to measure."""

    evidence: EvidenceId
    """An evidence with a mask, for example E1."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure the mask of an evidence on clean root pixels; adds facts to that evidence and shows no picture."""

    name: str = "measure"
    summary: str = "Measure the mask of an evidence: area, extent, centroid, mean value, millimetres where known."
    arguments: type[BaseModel] = MeasureArguments

    def run(self, arguments: MeasureArguments, look: Look) -> Observation:
        """Serve one call; lengths and places are in pixels of the root picture."""
        mask = find_mask(look, arguments.evidence).tight()
        evidence = find_evidence(look, arguments.evidence)
        study = find_outlined(look, evidence)
        measured = _measure(mask, study, compute_mean(mask, study))
        facts: dict[str, Fact] = {
            "area_px": round(measured.area_px),
            "area_share": float(f"{measured.area_share:.3g}"),
            "extent_px": [round(value, 1) for value in measured.extent_px],
            "centroid_px": [round(value, 1) for value in measured.centroid_xy],
            "mean_value": round(measured.mean_value, 1),
        }
        if measured.area_mm2 is not None and measured.extent_mm is not None and measured.longest_mm is not None:
            facts["area_mm2"] = round(measured.area_mm2, 1)
            facts["extent_mm"] = [round(value, 1) for value in measured.extent_mm]
            facts["longest_mm"] = round(measured.longest_mm, 1)
        finding = Finding(
            EvidenceKind.REGION, evidence.study, evidence.root, measures=evidence.id, measurement=measured
        )
        notes = (
            ()
            if study.header.spacing_mm is not None
            else ("The size of a pixel is not known, so there are no millimetres.",)
        )
        return Observation(facts, (), finding, notes)


def _measure(mask: Mask, study: Study, mean_value: float) -> Measurement:
    if mask.box is None:
        raise ValueError("An empty mask cannot be measured.")
    x0, y0, x1, y1 = mask.box.root_xyxy
    measured = Measurement(
        area_px=mask.area_root_px,
        area_share=compute_area_share(mask, study.frame),
        extent_px=(x1 - x0, y1 - y0),
        centroid_xy=_compute_centroid(mask),
        mean_value=mean_value,
    )
    spacing = study.header.spacing_mm
    if spacing is None:
        return measured
    (mm_x, mm_y), (sx, sy) = spacing, mask.frame.scale_xy
    return measured.model_copy(
        update={
            "area_mm2": mask.area_root_px * mm_x * mm_y,
            "extent_mm": ((x1 - x0) * mm_x, (y1 - y0) * mm_y),
            "longest_mm": compute_longest(mask.bits_H_W, (sx * mm_x, sy * mm_y)),
        }
    )


def _compute_centroid(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask.bits_H_W)
    (ox, oy), (sx, sy) = mask.frame.origin_xy, mask.frame.scale_xy
    return ox + (float(columns.mean()) + 0.5) * sx, oy + (float(rows.mean()) + 0.5) * sy


def compute_mean(mask: Mask, study: Study) -> float:
    """Mean of the clean pixels under a mask: rescaled units, or grey level of a colour picture."""
    values = study.source.read(mask.frame.root_box_xyxy, mask.frame.size_wh)
    grey = values.astype(np.float32)
    if grey.ndim == 3:
        grey = grey @ _LUMA
    return float(grey[mask.bits_H_W].mean(dtype=np.float64))


def compute_longest(bits_H_W: NDArray[np.bool_], spacing_xy: tuple[float, float]) -> float:
    """Greatest distance between two points of a mask, in the unit of ``spacing_xy`` (size of a pixel along x and y).

    Raises:
        ValueError: If the mask is empty.
    """
    rows = np.flatnonzero(bits_H_W.any(axis=1))
    if not rows.size:
        raise ValueError("An empty mask has no longest diameter.")
    left = bits_H_W[rows].argmax(axis=1)
    right = bits_H_W.shape[1] - bits_H_W[rows][:, ::-1].argmax(axis=1)
    # only the outer corners of each row's first and last pixel can be corners of the hull
    corners = np.concatenate([np.stack([x, y], axis=1) for x in (left, right) for y in (rows, rows + 1)])
    hull = _compute_hull(np.unique(corners, axis=0)) * np.asarray(spacing_xy)
    differences = hull[:, None, :] - hull[None, :, :]
    return float(np.sqrt((differences**2).sum(axis=2).max()))


def _compute_hull(points_N_2: NDArray[np.int64]) -> NDArray[np.float64]:
    """Corners of the convex hull; ``points_N_2`` sorted by x, then y."""

    def chain(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept: list[tuple[int, int]] = []
        for x, y in points:
            while len(kept) >= 2 and _turn(kept[-2], kept[-1], (x, y)) <= 0:
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    ordered = [(int(x), int(y)) for x, y in points_N_2]
    return np.asarray(chain(ordered) + chain(ordered[::-1]), dtype=np.float64)


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
