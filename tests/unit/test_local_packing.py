"""Patches and positions against the Hugging Face originals."""

import numpy as np
import pytest

from ophiscope.models.local.packing import Grid, PatchLayout, pack_view, pack_views
from ophiscope.models.local.positions import ImageSpan, compute_positions

CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
LAYOUTS = [
    PatchLayout(patch=14, temporal_patch=2, merge=2, **CLIP),
    PatchLayout(patch=16, temporal_patch=2, merge=2, mean=(0.5,) * 3, std=(0.5,) * 3),
    PatchLayout(patch=8, temporal_patch=1, merge=2, mean=(0.5,) * 3, std=(0.5,) * 3),
    PatchLayout(patch=16, temporal_patch=1, merge=1, mean=(0.5,) * 3, std=(0.5,) * 3),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.patch}x{layout.merge}")
def test_matches_the_official_processor(layout: PatchLayout) -> None:
    processing = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    processor = processing.Qwen2VLImageProcessorPil(
        patch_size=layout.patch,
        temporal_patch_size=layout.temporal_patch,
        merge_size=layout.merge,
        image_mean=layout.mean,
        image_std=layout.std,
        size={"shortest_edge": 16, "longest_edge": 10**7},
    )
    rng = np.random.default_rng(0)
    views = [rng.integers(0, 256, (layout.unit_px * h, layout.unit_px * w, 3), np.uint8) for h, w in ((3, 5), (4, 2))]
    official = processor(images=views, return_tensors="np")
    packed = pack_views(views, layout)
    assert [list(grid) for grid in packed.grids] == official["image_grid_thw"].tolist()
    assert packed.patches_N_P.shape == official["pixel_values"].shape
    assert packed.patches_N_P.dtype == np.float32
    one_grey_level = 1 / 255 / min(layout.std)
    assert np.abs(packed.patches_N_P - official["pixel_values"]).max() < 0.01 * one_grey_level


def test_merge_order_by_hand() -> None:
    layout = PatchLayout(patch=1, temporal_patch=2, merge=2, mean=(0.0,) * 3, std=(1.0,) * 3)
    red = np.arange(8, dtype=np.uint8).reshape(2, 4)
    patches, grid = pack_view(np.stack([red, red * 0, red * 0], axis=2), layout)
    assert grid == Grid(1, 2, 4)
    assert (patches[:, 0] * 255).round().tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert np.array_equal(patches[:, 0], patches[:, 1]), "the still picture is repeated over time"


@pytest.mark.parametrize("shape", [(28, 30, 3), (0, 28, 3), (27, 28, 3)])
def test_other_sizes_are_refused_not_resized(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{shape[1]}x{shape[0]} px.*multiples of 28 px"):
        pack_view(np.zeros(shape, np.uint8), LAYOUTS[0])


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        pack_view(np.zeros((28, 28, 3), np.float32), LAYOUTS[0])  # type: ignore[arg-type]


def test_no_view_is_an_empty_pack() -> None:
    packed = pack_views([], LAYOUTS[1])
    assert packed.patches_N_P.shape == (0, 3 * 2 * 16 * 16)
    assert packed.grids == ()


def test_positions_by_hand() -> None:
    ids, following = compute_positions(8, [ImageSpan(2, Grid(1, 2, 4))], merge=2)
    assert ids.tolist() == [[0, 1, 2, 2, 4, 5, 6, 7], [0, 1, 2, 2, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert following == 8


def test_a_picture_past_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tokens 2\.\.4"):
        compute_positions(3, [ImageSpan(2, Grid(1, 2, 4))], merge=2)


def test_overlapping_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="does not follow token 4"):
        compute_positions(9, [ImageSpan(2, Grid(1, 2, 4)), ImageSpan(3, Grid(1, 2, 2))], merge=2)


def test_plain_text_counts_up() -> None:
    ids, following = compute_positions(3, [], merge=2)
    assert ids.tolist() == [[0, 1, 2]] * 3
    assert following == 3
