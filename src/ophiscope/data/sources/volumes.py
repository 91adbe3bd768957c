"""Slices of volumes with label maps or segmentations: ``volumes.json``."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import AxisSpan
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.data.sources.annotated import AnnotatedPicture, Region, Unusable, fit_mask
from ophiscope.errors import WrongInput
from ophiscope.media.masks import MaskSet
from ophiscope.media.study import read_masks, read_study

__all__ = ["VOLUMES", "read_volumes"]

VOLUMES = "volumes.json"
_EVERY_MM, _SAME_MM = 5, 0.01
"""Of a volume a slice is taken every so many millimetres: neighbours show the same."""


def read_volumes(source: Path, license_: str) -> Iterator[AnnotatedPicture]:
    """``volumes.json``: a list of ``{"image": ..., "labels": ... or "seg": ..., "names": {"5": "liver"}}``.

    Paths start from the folder; ``names`` may be a file of such an object. What a volume shows in other slices is known
    not to be in one where nothing is outlined.

    Raises:
        WrongInput: If the list or an entry cannot be used.
    """
    try:
        entries: Any = json.loads((source / VOLUMES).read_text("utf-8"))
        entries = [dict(entry) for entry in entries]
        for entry in entries:
            slices = _read_volume(source, entry, license_)
            there = {region.target for one in slices for region in one.regions if region.target}
            yield from (
                replace(one, absent=tuple(sorted(there - {region.target for region in one.regions}))) for one in slices
            )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WrongInput(f"{source / VOLUMES} is no list of volumes: {type(error).__name__} {error}.") from None


def _read_volume(source: Path, entry: Mapping[str, Any], license_: str) -> list[AnnotatedPicture]:
    image = source / str(entry["image"])
    volume = read_study(image)
    span = next((axis for axis in volume.header.axes if axis.axis.value == "axial"), None)
    if span is None:
        raise WrongInput(f"{image} is no volume.")
    step_mm = (span.end - span.start) / max(span.pictures, 1)
    if "labels" in entry:
        _check_grid(source / str(entry["labels"]), span)
    named = _read_names(source, entry.get("names"))
    slices = []
    for index in range(0, span.pictures, max(1, round(_EVERY_MM / step_mm))):
        at = _Slice(SliceChoice(SliceAxis.AXIAL, index), span.start + (index + 0.5) * step_mm, step_mm)
        slices.append(
            AnnotatedPicture(
                key=f"{entry['image']}#{at.choice}",
                subject=str(entry.get("patient", entry["image"])),
                source=str(entry.get("source", source.name)),
                license=str(entry.get("license", license_)),
                annotation=entry.get("annotation", "human"),
                path=image,
                regions=_list_regions(source, entry, named, at),
                modality={"CT": "CT", "MR": "MRI"}.get(volume.header.modality or str(entry.get("modality", "")), ""),
                slice_at=at.choice,
            )
        )
    return slices


class _Slice(NamedTuple):
    choice: SliceChoice
    position_mm: float
    """Of its middle, along the axis."""
    step_mm: float


def _check_grid(labels: Path, span: AxisSpan) -> None:
    """A label map has the grid of its picture, as far as the axis tells."""
    own = next((axis for axis in read_study(labels).header.axes if axis.axis is span.axis), None)
    same = own is not None and own.pictures == span.pictures and abs(own.start - span.start) < _SAME_MM
    if not same:
        raise WrongInput(f"The labels {labels} do not lie on the grid of their picture.")


def _read_names(source: Path, given: Any) -> Mapping[int, str]:
    value = json.loads((source / given).read_text("utf-8")) if isinstance(given, str) else given or {}
    if value and all(isinstance(inner, dict) for inner in value.values()):
        value = next(iter(value.values()))  # TotalSegmentator keeps one map for each task
    return {int(number): str(name).replace("_", " ") for number, name in value.items()}


def _list_regions(source: Path, entry: Mapping[str, Any], named: Mapping[int, str], at: _Slice) -> tuple[Region, ...]:
    if "seg" in entry:
        path = source / str(entry["seg"])
        masks = _open_seg(path)
        own = _find_slice(masks, at)
        if own is None:
            return ()
        names = {one.number: one.label or named.get(one.number, f"structure {one.number}") for one in masks.segments}
        there = [number for number in names if masks.cut(number, own).any()]
        return tuple(Region(names[number], partial(_load_seg, path, number, own)) for number in there)
    path = source / str(entry["labels"])
    values = sorted(int(value) for value in np.unique(_open_labels(path, at.choice)) if value)
    known = [
        Region(named[number], partial(_load_label, path, at.choice, number)) for number in values if number in named
    ]
    outside = [
        Region("", partial(_refuse, "label outside of the map", str(number)))
        for number in values
        if number not in named
    ]
    return (*known, *outside)


def _find_slice(masks: MaskSet, at: _Slice) -> SliceChoice | None:
    """The slice of a segmentation that lies where a slice of its picture does: often it holds only a part of them.

    Raises:
        WrongInput: If the segmentation does not say where it lies.
    """
    if masks.grid is None:
        raise WrongInput("A segmentation whose slices lie nowhere, or at uneven distances, cannot be matched.")
    choices = [SliceChoice(SliceAxis.AXIAL, index) for index in range(masks.grid.count(SliceAxis.AXIAL))]
    away = {choice: abs(masks.grid.position_mm(choice) - at.position_mm) for choice in choices}
    nearest = min(choices, key=lambda choice: away[choice])
    return nearest if away[nearest] < at.step_mm / 2 else None


def _refuse(reason: str, detail: str, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    raise Unusable(reason, detail)


@lru_cache(maxsize=4)
def _open_labels(path: Path, choice: SliceChoice) -> NDArray[np.int64]:
    study = read_study(path, slice_at=choice)
    slope, intercept = study.header.slope_intercept
    values = np.asarray(study.source.read_root(), dtype=np.float64) * slope + intercept
    return np.asarray(np.rint(values), dtype=np.int64)


def _load_label(path: Path, choice: SliceChoice, number: int, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    return fit_mask(_open_labels(path, choice) == number, size_wh)


@lru_cache(maxsize=2)
def _open_seg(path: Path) -> MaskSet:
    return read_masks(path)


def _load_seg(path: Path, number: int, choice: SliceChoice, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    return fit_mask(_open_seg(path).cut(number, choice), size_wh)
