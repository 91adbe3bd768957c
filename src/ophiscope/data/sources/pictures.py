"""Readers of annotated pictures: a pack, folders of masks, COCO, label maps and segmentations of volumes."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import AxisSpan
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.data.seg_pack import Annotation, SegRow, read_rows
from ophiscope.data.sources.annotated import AnnotatedPicture, Region, Unusable
from ophiscope.errors import MediaRejected, WrongInput
from ophiscope.media.masks import MaskSet
from ophiscope.media.study import read_masks, read_study

__all__ = ["list_pictures"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm")
_EVERY_MM, _SAME_MM = 5, 0.01
"""Of a volume every so many slices are taken: neighbours show the same."""

_FORMATS = (
    "index.jsonl (segmentation pack), images/ with masks/, a COCO annotation file beside its pictures, or volumes.json"
)


def list_pictures(source: Path, *, license_: str = "unknown") -> tuple[AnnotatedPicture, ...]:
    """The annotated pictures of a folder, whatever it is written in.

    Args:
        source: A folder of one of the known forms, or a COCO file.
        license_: Of sources that do not say.

    Raises:
        WrongInput: If nothing annotated is found there.
    """
    if source.is_file() and source.suffix == ".json":
        return tuple(_read_coco(source, license_))
    if (source / "index.jsonl").is_file():
        return tuple(_read_pack(source))
    if (source / "volumes.json").is_file():
        return tuple(_read_volumes(source, license_))
    if (source / "masks").is_dir():
        return tuple(_read_mask_folders(source, license_))
    coco = [path for path in sorted(source.glob("*.json")) if _is_coco(path)] if source.is_dir() else []
    if coco:
        return tuple(picture for path in coco for picture in _read_coco(path, license_))
    raise WrongInput(f"Nothing annotated is found in {source}; accepted are {_FORMATS}.")


def _read_pack(root: Path) -> Iterator[AnnotatedPicture]:
    """Targets that only other modalities have are known not to be in a picture."""
    try:
        rows = read_rows(root)
    except ValueError as error:
        raise WrongInput(str(error)) from None
    shown: dict[str, set[str]] = defaultdict(set)
    by_image: dict[str, list[SegRow]] = defaultdict(list)
    for row in rows:
        shown[row.target].add(row.modality)
        by_image[row.image].append(row)
    for image, found in by_image.items():
        first = found[0]
        yield AnnotatedPicture(
            key=image,
            subject=f"{first.source}/{image}",
            source=first.source,
            license=first.license,
            annotation="human" if first.annotation is Annotation.HUMAN else "model",
            split="test" if first.split.value == "test" else "train",
            path=root / image,
            regions=tuple(Region(row.target, partial(_load_file, root / row.mask)) for row in found),
            modality=first.modality,
            site=first.site,
            absent=tuple(sorted(target for target, where in shown.items() if first.modality not in where)),
        )


def _read_mask_folders(source: Path, license_: str) -> Iterator[AnnotatedPicture]:
    """``masks/TARGET/NAME.*``, ``masks/NAME__TARGET.*``, or ``masks/NAME.*`` of the only target, ``lesion``."""
    pictures = source / "images" if (source / "images").is_dir() else source
    masks: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in sorted((source / "masks").rglob("*")):
        if path.suffix.lower() in _PICTURES:
            name, mark, target = path.stem.partition("__")
            inside = path.parent.name if path.parent != source / "masks" else "lesion"
            masks[name].append(((target if mark else inside).replace("_", " "), path))
    targets = {target for found in masks.values() for target, _ in found}
    several = len(targets) > 1
    names = {path.stem for path in pictures.iterdir() if path.suffix.lower() in _PICTURES}
    for path in sorted(pictures.iterdir()):
        if path.suffix.lower() not in _PICTURES:
            continue
        found = masks.get(path.stem, [])
        yield AnnotatedPicture(
            key=path.name,
            subject=path.stem,
            source=source.name,
            license=license_,
            path=path,
            regions=tuple(Region(target, partial(_load_file, mask)) for target, mask in found),
            absent=tuple(sorted(targets - {target for target, _ in found})) if several else (),
        )
    for name in sorted(masks.keys() - names):
        yield AnnotatedPicture(
            key=name, subject=name, source=source.name, license=license_, path=pictures / f"{name}.png"
        )


def _is_coco(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return '"annotations"' in file.read(1 << 20) or path.stem.startswith("instances")


def _read_coco(path: Path, license_: str) -> Iterator[AnnotatedPicture]:
    """Polygons, RLE and bare boxes; every annotation is one instance. Crowds are left out."""
    try:
        value: Any = json.loads(path.read_text("utf-8"))
        names = {entry["id"]: str(entry["name"]) for entry in value["categories"]}
        licences = {entry.get("id"): str(entry.get("name", license_)) for entry in value.get("licenses", [])}
        entries = list(value["images"])
        annotations = list(value["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongInput(f"{path} is no COCO file: {type(error).__name__} {error}.") from None
    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        if not annotation.get("iscrowd"):
            by_image[annotation.get("image_id")].append(annotation)
    everything = set(names.values())
    for entry in entries:
        found = by_image.get(entry["id"], [])
        there = {names.get(annotation.get("category_id"), "") for annotation in found}
        yield AnnotatedPicture(
            key=str(entry["file_name"]),
            subject=str(entry.get("patient", entry["file_name"])),
            source=path.stem,
            license=licences.get(entry.get("license"), license_),
            path=folder / str(entry["file_name"]),
            regions=tuple(
                Region(names.get(one.get("category_id"), ""), partial(_load_coco, one), instance=True) for one in found
            ),
            absent=tuple(sorted(everything - there)),
        )


def _read_volumes(source: Path, license_: str) -> Iterator[AnnotatedPicture]:
    """``volumes.json``: a list of ``{"image": ..., "labels": ... or "seg": ..., "names": {"5": "liver"}}``.

    Paths start from the folder; ``names`` may be a file of such an object. A slice is taken every five millimetres.
    """
    try:
        entries: Any = json.loads((source / "volumes.json").read_text("utf-8"))
        entries = [dict(entry) for entry in entries]
    except (OSError, ValueError, TypeError) as error:
        raise WrongInput(f"{source / 'volumes.json'} is no list of volumes: {error}.") from None
    for entry in entries:
        image = source / str(entry["image"])
        volume = read_study(image)
        span = next((axis for axis in volume.header.axes if axis.axis.value == "axial"), None)
        if span is None:
            raise WrongInput(f"{image} is no volume.")
        step_mm = (span.end - span.start) / max(span.pictures, 1)
        if "labels" in entry:
            _check_grid(source / str(entry["labels"]), span)
        named = _read_names(source, entry.get("names"))
        for index in range(0, span.pictures, max(1, round(_EVERY_MM / step_mm))):
            choice = SliceChoice(SliceAxis.AXIAL, index)
            yield AnnotatedPicture(
                key=f"{entry['image']}#{choice}",
                subject=str(entry.get("patient", entry["image"])),
                source=str(entry.get("source", source.name)),
                license=str(entry.get("license", license_)),
                annotation=entry.get("annotation", "human"),
                path=image,
                regions=_list_volume_regions(
                    source, entry, named, _Slice(choice, span.start + (index + 0.5) * step_mm, step_mm)
                ),
                modality={"CT": "CT", "MR": "MRI"}.get(volume.header.modality or str(entry.get("modality", "")), ""),
                slice_at=choice,
            )


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


def _list_volume_regions(
    source: Path, entry: Mapping[str, Any], named: Mapping[int, str], at: _Slice
) -> tuple[Region, ...]:
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


def _load_file(path: Path, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    if not path.is_file():
        raise Unusable("mask is not there")
    try:
        values = np.asarray(read_study(path).source.read_root())
    except MediaRejected as refusal:
        raise Unusable("mask cannot be read", refusal.code.value) from None
    inside = values > values.max() / 2 if values.max() > 1 else values > 0
    return _fit(np.asarray(inside.any(axis=2) if inside.ndim == 3 else inside, dtype=np.bool_), size_wh)


def _load_coco(annotation: Mapping[str, Any], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    from pycocotools import mask as coco  # an extra

    shape, (w, h) = annotation.get("segmentation"), size_wh
    if not shape:
        x, y, bw, bh = (float(value) for value in annotation["bbox"])
        if not (0 <= x < x + bw <= w + 0.5 and 0 <= y < y + bh <= h + 0.5):
            raise Unusable("box outside of the picture")
        filled = np.zeros((h, w), np.bool_)
        filled[int(y) : int(np.ceil(y + bh)), int(x) : int(np.ceil(x + bw))] = True
        return filled
    try:
        if isinstance(shape, dict):
            packed = shape if isinstance(shape["counts"], str | bytes) else coco.frPyObjects(shape, *shape["size"])
        else:
            packed = coco.merge(coco.frPyObjects(shape, h, w))
        drawn = np.asarray(coco.decode(packed), dtype=np.bool_)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise Unusable("outline cannot be read", type(error).__name__) from None
    return _fit(drawn, size_wh)


@lru_cache(maxsize=4)
def _open_labels(path: Path, choice: SliceChoice) -> NDArray[np.int64]:
    study = read_study(path, slice_at=choice)
    slope, intercept = study.header.slope_intercept
    values = np.asarray(study.source.read_root(), dtype=np.float64) * slope + intercept
    return np.asarray(np.rint(values), dtype=np.int64)


def _load_label(path: Path, choice: SliceChoice, number: int, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    return _fit(_open_labels(path, choice) == number, size_wh)


@lru_cache(maxsize=2)
def _open_seg(path: Path) -> MaskSet:
    return read_masks(path)


def _load_seg(path: Path, number: int, choice: SliceChoice, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    return _fit(_open_seg(path).cut(number, choice), size_wh)


def _fit(mask_H_W: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    if mask_H_W.shape[::-1] != size_wh:
        h, w = mask_H_W.shape
        raise Unusable("mask of another size", f"{w} x {h} pixels, the picture has {size_wh[0]} x {size_wh[1]}")
    return mask_H_W
