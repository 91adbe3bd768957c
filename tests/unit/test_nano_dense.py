"""What the visual tokens of nano are told: labels of phantoms, of mosaics, and of marked pictures."""

import json
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from skimage.measure import label

pytest.importorskip("torch")
from ophiscope.core.action import Answer
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.result import ResultKind
from ophiscope.data.seg_pack import Annotation, SegRow, Split
from ophiscope.metrics.answers import grade
from ophiscope.metrics.overlap import compute_box_overlap
from ophiscope.protocol.grammar import parse_reply
from ophiscope.recipes.mixture import draw_kind
from ophiscope.recipes.nano.arms import ARMS, write_arm_trajectory
from ophiscope.recipes.nano.dense import _token_places
from ophiscope.recipes.nano.real_pictures import RealPicture
from ophiscope.recipes.nano.stream import draw_task
from ophiscope.recipes.nano.tasks import AIMING, MIXTURE, draw_phantom_task, draw_real_task, write_trajectory
from ophiscope.recipes.nano.vision_data import (
    DETAILS,
    MODALITIES,
    SPOT_CELLS,
    DenseView,
    _label_mosaic,
    draw_dense_views,
)


def take(count: int, seed: int = 3) -> list[DenseView]:
    views = draw_dense_views(seed)
    return [next(views) for _ in range(count)]


def test_dots_are_as_many_as_the_calcifications_that_are_resolved() -> None:
    counted = 0
    for view in take(150):
        shown = {DETAILS[int(index)] for index in view.detail_M} & {"1", "2", "3", "4"}
        if len(shown) == 1 and not np.isnan(view.dots_M).any() and view.centre_M.sum() == 1:
            counted += 1
            assert int(next(iter(shown))) == view.dots_M.sum()
    assert counted >= 8


def find_rim(core_H_W: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells next to a core."""
    return np.asarray(maximum_filter(core_H_W, 3) & ~core_H_W)


def test_the_cells_of_a_calcification_are_its_core() -> None:
    checked = 0
    for view in take(150):
        rows, columns = (side // 16 for side in view.pixels_H_W_3.shape[:2])
        known = ~np.isnan(view.dots_M)
        assert (known == ~np.isnan(view.core_M_C).any(1)).all()
        assert (view.core_M_C[known].any(1) >= (view.dots_M[known] > 0)).all()
        if not known.all() or not view.dots_M.any():
            continue
        cells = view.core_M_C.reshape(rows, columns, SPOT_CELLS, SPOT_CELLS).transpose(0, 2, 1, 3)
        covered = cells.reshape(rows * SPOT_CELLS, columns * SPOT_CELLS)
        assert label(covered, connectivity=2).max() == view.dots_M.sum()
        grey = view.pixels_H_W_3.mean(axis=2).reshape(covered.shape[0], 2, covered.shape[1], 2).mean(axis=(1, 3))
        for part in range(1, int(view.dots_M.sum()) + 1):
            core = label(covered, connectivity=2) == part
            assert grey[core].mean() > grey[find_rim(core)].mean()
        checked += 1
    assert checked >= 20


def test_boxes_of_a_view_hold_the_tokens_that_they_are_told_to() -> None:
    seen = 0
    for view in take(60):
        places = _token_places(view.pixels_H_W_3.shape).numpy()
        for token in np.flatnonzero(view.centre_M):
            x0, y0, x1, y1 = view.box_M_4[token]
            if min(x0, y0) <= 0 or max(x1, y1) >= 1:
                continue  # cut by the view
            middle = ((x0 + x1) / 2, (y0 + y1) / 2)
            rows, columns = (side // 16 for side in view.pixels_H_W_3.shape[:2])
            assert abs(places[token][0] - middle[0]) <= 0.75 / columns
            assert abs(places[token][1] - middle[1]) <= 0.75 / rows
            seen += 1
    assert seen > 30


def test_a_token_of_a_mosaic_has_the_modality_of_its_tile_and_none_on_a_border() -> None:
    names = [MODALITIES[index % len(MODALITIES)] for index in range(16)]
    pictures = [np.full((40, 60, 3), 10 * index, np.uint8) for index in range(16)]
    view = _label_mosaic(pictures, names)
    labels = view.modality_M.reshape(6, 6)
    assert (labels[1] == -1).all()
    assert (labels[:, 4] == -1).all()
    # the tiles are 24 px wide, the tokens 16: of each half of a side the outer token lies in a tile, so does the inner
    assert [MODALITIES[int(label)] for label in labels[0, [0, 2, 3, 5]]] == names[:4]
    assert [MODALITIES[int(label)] for label in labels[5, [0, 2, 3, 5]]] == names[12:]
    assert view.pixels_H_W_3[95, 95, 0] == 150


@pytest.mark.parametrize("seed", range(6))
def test_a_mark_is_boxed_where_its_key_says(seed: int) -> None:
    task = draw_real_task(seed, "mark", ())
    outcome = write_arm_trajectory(task, ARMS["tools"], None)
    check_box(outcome.result, task.key)


def test_an_arm_without_tools_says_boxes_too() -> None:
    boxes = 0
    for seed in range(40):
        task = draw_phantom_task(seed, "plain")
        if task.key.kind is ResultKind.BOX:
            boxes += 1
            check_box(write_arm_trajectory(task, ARMS["none"], None).result, task.key)
    assert boxes >= 8


def check_box(result: object, key: AnswerKey) -> None:
    box = getattr(result, "box_xyxy", None)
    assert box is not None
    assert (compute_box_overlap(box, key.evidence_boxes[0].root_xyxy).iou or 0.0) > 0.9


def test_where_to_look_comes_first() -> None:
    kinds = [draw_kind(seed, AIMING) for seed in range(400)]
    assert set(kinds) == set(AIMING) < set(MIXTURE)
    assert abs(kinds.count("L1") / 400 - AIMING["L1"]) < 0.08


def test_spots_cover_the_boxes_that_are_told_and_nothing_else() -> None:
    checked = 0
    for view in take(60):
        rows, columns = (side // 16 for side in view.pixels_H_W_3.shape[:2])
        cells = view.spot_M_C.reshape(rows, columns, SPOT_CELLS, SPOT_CELLS).transpose(0, 2, 1, 3)
        covered = cells.reshape(rows * SPOT_CELLS, columns * SPOT_CELLS)
        tokens = np.flatnonzero(view.centre_M)
        if len(tokens) != 1 or (view.detail_M > 0).sum() < 2:
            continue
        x0, y0, x1, y1 = view.box_M_4[tokens[0]] * np.tile(covered.shape[::-1], 2)
        xs = np.flatnonzero(covered[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1])
        # the halo of a margin is in its box, not in its spot
        assert 0.2 < len(xs) / ((x1 - x0) * (y1 - y0)) <= 1.1
        checked += 1
    assert checked >= 8


def test_a_share_is_asked_of_phantoms_and_of_real_pictures_alike() -> None:
    tasks = [draw_task(seed, "share", ()) for seed in range(4)]
    assert {task.key.group for task in tasks} == {"share"}
    assert len({task.case.studies[0].header.root for task in tasks}) == 4
    assert draw_task(2, "share", ()).case.question == tasks[2].case.question


def build_row(modality: str) -> SegRow:
    return SegRow(
        "a.png", "a_mask.png", modality, "colon", "polyp", "polyp", (0, 0, 64, 64), 4096, "none", "CC0-1.0",
        Annotation.HUMAN, Split.TRAIN,
    )  # fmt: skip


def test_where_the_picture_of_a_modality_is_can_be_asked_of_a_mosaic_alone() -> None:
    pictures = [
        RealPicture(np.full((64, 64, 3), 40 * index, np.uint8), (build_row(name),), {"polyp": np.eye(64, dtype=bool)})
        for index, name in enumerate(("endoscopy", "CT", "MRI"))
    ]
    places = set()
    for seed in range(12):
        task = draw_task(seed, "tile", pictures)
        (box,) = task.key.evidence_boxes
        x0, y0, x1, y1 = box.root_xyxy
        assert x1 - x0 == y1 - y0 == task.case.studies[0].header.size_wh[0] / 4
        outcome = write_trajectory(task, None)
        said = parse_reply(outcome.messages[-1].text)
        assert isinstance(said, Answer)
        told = json.loads(said.text.removeprefix("box "))
        assert told == [round(1000 * value / 768) for value in (x0, y0, x1, y1)]
        assert outcome.result is not None
        assert grade(outcome.result, task.key).correct
        assert task.key.least_calls == outcome.attempted_calls == 0
        places.add((x0, y0))
    assert len(places) > 6


def test_a_mosaic_asks_for_rare_modalities_too_and_shows_the_asked_one_once() -> None:
    levels = {"endoscopy": 60, "CT": 130, "MRI": 200}
    shapes = {"endoscopy": 90, "CT": 10, "MRI": 5}
    pictures = [
        RealPicture(np.full((32, 32, 3), levels[name], np.uint8), (build_row(name),), {"polyp": np.eye(32, dtype=bool)})
        for name, many in shapes.items()
        for _ in range(many)
    ]
    asked: Counter[str] = Counter()
    for seed in range(60):
        task = draw_task(seed, "tile", pictures)
        root = np.asarray(task.case.studies[0].source.read_root())
        side = root.shape[0] // 4
        middles = root[side // 2 :: side, side // 2 :: side, 0]
        (box,) = task.key.evidence_boxes
        x0, y0, _, _ = box.root_xyxy
        name = next(name for name, level in levels.items() if level == middles[int(y0) // side, int(x0) // side])
        assert (middles == levels[name]).sum() == 1
        assert name in task.case.question
        asked[name] += 1
    # by the roots of 90, 10 and 5 they come .64, .21 and .15; by number they would come .86, .10 and .05
    assert asked["CT"] >= 6
    assert asked["MRI"] >= 4
