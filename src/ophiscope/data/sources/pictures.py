"""Readers of annotated pictures: a pack, folders of masks, COCO, label maps and segmentations of volumes."""

import glob
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophiscope.data.seg_pack import Annotation, SegRow, read_rows
from ophiscope.data.sources.annotated import AnnotatedPicture, Region, Unusable, fit_mask
from ophiscope.data.sources.volumes import VOLUMES, read_volumes
from ophiscope.errors import MediaRejected, WrongInput
from ophiscope.media.study import read_study

__all__ = ["list_pictures"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm")


_ONLY = "lesion"
"""What a mask is of, where nothing says it."""
_FORMATS = (
    "index.jsonl (segmentation pack), images/ with masks/, NAME_mask.png beside NAME.png, a COCO annotation file "
    "beside its pictures, or volumes.json"
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
    if (source / VOLUMES).is_file():
        return tuple(read_volumes(source, license_))
    if (source / "masks").is_dir():
        return tuple(_read_mask_folders(source, license_))
    coco = [path for path in sorted(source.glob("*.json")) if _is_coco(path)] if source.is_dir() else []
    if coco:
        return tuple(picture for path in coco for picture in _read_coco(path, license_))
    if source.is_dir() and any(source.rglob("*_mask*.png")):
        return tuple(_read_masks_beside(source, license_))
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
            inside = path.parent.name if path.parent != source / "masks" else _ONLY
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


def _read_masks_beside(source: Path, license_: str) -> Iterator[AnnotatedPicture]:
    """``NAME.png`` with ``NAME_mask.png``, ``NAME_mask_1.png``, ... in folders; a picture without one has no lesion."""
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in _PICTURES or "_mask" in path.stem:
            continue
        masks = sorted(path.parent.glob(f"{glob.escape(path.stem)}_mask*.png"))
        yield AnnotatedPicture(
            key=str(path.relative_to(source)),
            subject=str(path.relative_to(source)),
            source=source.name,
            license=license_,
            path=path,
            regions=tuple(Region(_ONLY, partial(_load_file, mask), instance=True) for mask in masks),
            absent=() if masks else (_ONLY,),
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


def _load_file(path: Path, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    if not path.is_file():
        raise Unusable("mask is not there")
    try:
        values = np.asarray(read_study(path).source.read_root())
    except MediaRejected as refusal:
        raise Unusable("mask cannot be read", refusal.code.value) from None
    inside = values > values.max() / 2 if values.max() > 1 else values > 0
    return fit_mask(np.asarray(inside.any(axis=2) if inside.ndim == 3 else inside, dtype=np.bool_), size_wh)


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
    return fit_mask(drawn, size_wh)
