"""Our forward against that of the Hugging Face models, to float round-off, values and gradients."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # a tiny model loses more to threads than it gains
pytest.importorskip("transformers")
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig  # noqa: E402

from ophiscope.models.local.forward import TokenBatch, compute_hidden, compute_logits  # noqa: E402
from ophiscope.models.local.load import build_model  # noqa: E402
from ophiscope.models.local.nano import NanoShape, build_nano_config, build_nano_model  # noqa: E402
from ophiscope.models.local.packing import Grid  # noqa: E402
from ophiscope.models.local.positions import ImageSpan, compute_positions  # noqa: E402
from ophiscope.models.local.skeleton import SkeletonModel  # noqa: E402
from ophiscope.models.local.tiny import build_tiny_config  # noqa: E402

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "nano", "nano-merged")
EQUAL = (((2, 3), (2, 3)), ((2, 3),))
UNEQUAL = (((3, 5), (2, 2)), ((3, 5),))  # with attention windows that are cut at the edges
"""Height and width, in visual tokens, of the pictures of each row."""
Sizes = tuple[tuple[tuple[int, int], ...], ...]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    if request.param.startswith("nano"):
        small = NanoShape(hidden=96, layers=3, mlp=128, vision_hidden=48, vision_layers=3, vision_mlp=96)
        shape = replace(small, patch=8, merge=2, deepstack=(0, 2)) if request.param == "nano-merged" else small
        return build_nano_model(build_nano_config(300, image_token_id=290, shape=shape), seed=0).eval()
    return build_model(build_tiny_config(request.param)).eval()


def scale(model: Any, sizes: Sizes) -> tuple[tuple[Grid, ...], ...]:
    merge = model.config.vision_config.spatial_merge_size
    return tuple(tuple(Grid(1, h * merge, w * merge) for h, w in row) for row in sizes)


def build_batch(model: Any, sizes: Sizes, lengths: tuple[int, ...] = (50, 33)) -> TokenBatch:
    """Rows of random text with pictures three tokens apart, padded on the right with id 0."""
    rng = np.random.default_rng(1)
    grids = scale(model, sizes)
    vision = model.config.vision_config
    merge = vision.spatial_merge_size
    ids_B_T = np.zeros((len(grids), max(lengths)), dtype=np.int64)
    positions_3_B_T = np.zeros((3, *ids_B_T.shape), dtype=np.int64)
    for row, (row_grids, length) in enumerate(zip(grids, lengths, strict=True)):
        ids_B_T[row, :length] = rng.integers(0, 200, length)
        spans, start = [], 3
        for grid in row_grids:
            spans.append(ImageSpan(start, grid))
            ids_B_T[row, start : start + spans[-1].tokens(merge)] = model.config.image_token_id
            start += spans[-1].tokens(merge) + 3
        positions_3_B_T[:, row, :length] = compute_positions(length, spans, merge=merge).ids_3_T
    flat = tuple(grid for row_grids in grids for grid in row_grids)
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    patches = rng.standard_normal((sum(grid.patches for grid in flat), width), dtype=np.float32)
    return TokenBatch(*(torch.from_numpy(array) for array in (ids_B_T, positions_3_B_T, patches)), flat)


def build_original(model: Any) -> Any:
    """The Hugging Face model with the same weights: itself, but for the embedded one, which has a tree of its own."""
    if not isinstance(model, SkeletonModel):
        return model
    original = build_model(Qwen3VLConfig.from_dict(model.config.to_dict())).eval()
    original.load_state_dict(model.state_dict())
    return original


def run_original(model: Any, batch: TokenBatch, lengths: tuple[int, ...], *, own_positions: bool) -> Any:
    """Logits by the original forward, with its own positions unless ``own_positions``."""
    attention = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    model.model.rope_deltas = None
    return model(
        input_ids=batch.token_ids_B_T,
        pixel_values=batch.patches_N_P,
        image_grid_thw=torch.tensor(batch.grids),
        mm_token_type_ids=(batch.token_ids_B_T == model.config.image_token_id).int(),
        attention_mask=attention.long(),
        position_ids=batch.positions_3_B_T if own_positions else None,
        use_cache=False,
    ).logits


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_equals_the_original_forward(model: Any, sizes: Sizes) -> None:
    lengths = (50, 33)
    batch = build_batch(model, sizes, lengths)
    with torch.no_grad():
        ours = compute_logits(model, batch)
        theirs = run_original(build_original(model), batch, lengths, own_positions=False)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(ours[row, :length], theirs[row, :length], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_positions_equal_those_of_the_original(model: Any, sizes: Sizes) -> None:
    batch = build_batch(model, sizes)
    attention = torch.arange(50)[None] < torch.tensor([50, 33])[:, None]
    theirs, deltas = build_original(model).model.get_rope_index(
        batch.token_ids_B_T,
        mm_token_type_ids=(batch.token_ids_B_T == model.config.image_token_id).int(),
        image_grid_thw=torch.tensor(batch.grids),
        attention_mask=attention.long(),
    )
    assert torch.equal(batch.positions_3_B_T, theirs)
    merge = model.config.vision_config.spatial_merge_size
    spans, start = [], 3
    for grid in scale(model, sizes)[0]:
        spans.append(ImageSpan(start, grid))
        start += spans[-1].tokens(merge) + 3
    assert compute_positions(50, spans, merge=merge).next_position == 50 + int(deltas[0])


def test_kept_places_equal_those_of_the_whole(model: Any) -> None:
    batch = build_batch(model, EQUAL)
    keep = torch.zeros(batch.token_ids_B_T.shape, dtype=torch.bool)
    keep[0, 40:45] = keep[1, 20] = True
    with torch.no_grad():
        whole = compute_hidden(model, batch)
        torch.testing.assert_close(compute_hidden(model, batch, keep_B_T=keep), whole[keep], atol=1e-6, rtol=1e-5)


def test_gradients_equal_those_of_the_original(model: Any) -> None:
    lengths = (50, 33)
    batch = build_batch(model, UNEQUAL, lengths)
    keep = torch.zeros(batch.token_ids_B_T.shape, dtype=torch.bool)
    keep[0, 40:45] = keep[1, 30] = True
    found: list[dict[str, Any]] = []
    original = build_original(model)
    for one, logits in (
        (model, compute_logits(model, batch, keep_B_T=keep)),
        (original, run_original(original, batch, lengths, own_positions=True)[keep]),
    ):
        one.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.arange(6)).backward()
        found.append({name: value.grad.clone() for name, value in one.named_parameters() if value.grad is not None})
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(
            ours[name], value, atol=1e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_picture_too_few_is_refused(model: Any) -> None:
    batch = build_batch(model, EQUAL)
    patches = batch.grids[0].patches
    one = TokenBatch(batch.token_ids_B_T, batch.positions_3_B_T, batch.patches_N_P[: 2 * patches], batch.grids[:2])
    with pytest.raises(ValueError, match="18 places for visual tokens, the pictures give 12"):
        compute_hidden(model, one)


def test_patches_without_their_grid_are_refused(model: Any) -> None:
    batch = build_batch(model, EQUAL)
    short = TokenBatch(batch.token_ids_B_T, batch.positions_3_B_T, batch.patches_N_P[:-1], batch.grids)
    with pytest.raises(ValueError, match=r"\d+ patches for 3 pictures that need \d+"):
        compute_hidden(model, short)


def test_after_inference_the_same_grids_can_train(model: Any) -> None:
    batch = build_batch(model, (((4, 4),), ((4, 4),)))
    with torch.inference_mode():
        compute_hidden(model, batch)
    compute_hidden(model, batch).sum().backward()
