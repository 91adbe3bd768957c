"""The segmentation pack in memory, and how nano-seg divides it: validation pictures, and folds of breast pictures."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ophiscope.data.seg_pack import (
    SegRow,
    Split,
    compute_groups,
    compute_near_duplicates,
    compute_print,
    read_mask,
    read_picture,
    read_rows,
)

__all__ = ["BREAST", "Pack", "breast_folds", "read_pack", "validation_images"]

BREAST = ("breast tumor", "benign breast tumor", "malignant breast tumor")
_VALIDATION_SHARE = {"polyp": 60, "nuclei": 10, "cell membrane": 3, "retinal vessels": 3, "skin lesion": 1}


@dataclass(frozen=True, eq=False)
class Pack:
    """The whole pack in memory."""

    rows: tuple[SegRow, ...]
    pictures: dict[str, Tensor]
    """uint8 ``(3, 256, 256)`` by image name."""
    masks: dict[str, Tensor]
    """uint8 ``(256, 256)`` by mask name."""
    groups: dict[str, int]
    """Near-duplicate group by image name."""
    targets_of: dict[str, frozenset[str]] = field(default_factory=dict)
    """Annotated targets by image name."""


def read_pack(root: Path) -> Pack:
    """Read every picture and mask of the pack, and group its near-duplicates within each modality."""
    rows = read_rows(root)
    raw = {row.image: read_picture(root, row.image) for row in rows}
    masks = {row.mask: torch.from_numpy(read_mask(root, row.mask).astype(np.uint8)) for row in rows}
    prints = {name: compute_print(picture) for name, picture in raw.items()}
    groups: dict[str, int] = {}
    for modality in sorted({row.modality for row in rows}):
        names = sorted({row.image for row in rows if row.modality == modality})
        found = compute_groups(names, compute_near_duplicates(names, [prints[n] for n in names]))
        offset = len(groups)
        groups.update({name: offset + number for name, number in found.items()})
    targets: dict[str, set[str]] = {}
    for row in rows:
        targets.setdefault(row.image, set()).add(row.target)
    pictures = {name: torch.from_numpy(picture.copy()).permute(2, 0, 1).contiguous() for name, picture in raw.items()}
    return Pack(rows, pictures, masks, groups, {name: frozenset(found) for name, found in targets.items()})


def validation_images(pack: Pack, seed: int = 11) -> frozenset[str]:
    """Choose validation pictures from the training side, whole near-duplicate groups at a time."""
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for target, count in _VALIDATION_SHARE.items():
        train = [r for r in pack.rows if r.target == target and r.split is Split.TRAIN]
        groups = sorted({pack.groups[r.image] for r in train})
        taken = 0
        for group in rng.permutation(groups):
            members = {r.image for r in train if pack.groups[r.image] == group}
            if taken < count and len(members) <= 3:
                chosen |= members
                taken += len(members)
    # Slices of the volume: a contiguous block, so that no slice has a trained neighbour on both sides.
    slices = sorted(name for name in pack.pictures if Path(name).name.startswith("ts_ct_a"))
    chosen |= set(slices[12:18])
    return frozenset(chosen)


def breast_folds(pack: Pack, folds: int = 5, seed: int = 5) -> dict[str, int]:
    """Deal the breast pictures to folds, near-duplicates together, benign and malignant evenly."""
    rng = np.random.default_rng(seed)
    images = sorted({r.image for r in pack.rows if r.target == "breast tumor"})
    malignant = {r.image for r in pack.rows if r.target == "malignant breast tumor"}
    members: dict[int, list[str]] = {}
    for image in images:
        members.setdefault(pack.groups[image], []).append(image)
    order = sorted(members.values(), key=lambda m: (m[0] in malignant, rng.random()))
    fold_of: dict[str, int] = {}
    for index, group in enumerate(order):
        fold_of.update(dict.fromkeys(group, index % folds))
    return fold_of
