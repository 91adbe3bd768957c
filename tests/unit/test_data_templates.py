"""Questions without a model: what masks and segments say, in words."""

import random

import numpy as np
import pytest

from ophiscope.data.picture_facts import PictureFacts, compute_overlaps, measure_region
from ophiscope.data.picture_questions import write_picture_questions
from ophiscope.data.timed_questions import Segment, write_timed_questions
from ophiscope.protocol.answer_text import parse_answer
from set_cases import draw_blob


def _measure(target: str, box: tuple[int, int, int, int], **known: object):
    facts = measure_region(target, draw_blob(100, box), f"media/{target}.png", **known)
    assert facts is not None
    return facts


def _ask(facts: PictureFacts, seed: int = 0) -> dict[str, list]:
    asked: dict[str, list] = {}
    for drafted in write_picture_questions(facts, random.Random(seed)):
        asked.setdefault(drafted.group, []).append(drafted)
    return asked


def test_a_mask_in_numbers():
    region = _measure("polyp", (10, 20, 40, 30))
    assert region.box_xyxy == (10, 20, 40, 30)
    assert region.area_px == 300
    assert region.centre_xy == (25.0, 25.0)
    assert region.longest_px == (30.0, 10.0)
    assert measure_region("polyp", np.zeros((4, 4), np.bool_), "m") is None


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_diameter_is_that_of_all_pairs(seed):
    mask = np.random.default_rng(seed).random((23, 31)) < 0.05
    mask[11, 7] = True
    ys, xs = np.nonzero(mask)
    points = np.stack([xs, ys], 1)
    away = np.abs(points[:, None] - points[None])
    longest = (away**2).sum(-1).max()
    found = measure_region("x", mask, "m")
    assert found is not None
    assert sum((value - 1) ** 2 for value in found.longest_px) == longest


def test_questions_of_a_picture_have_the_answers_of_its_masks():
    boxes = {"polyp": (5, 5, 45, 45), "ulcer": (60, 70, 70, 80)}
    regions = tuple(_measure(name, box) for name, box in boxes.items())
    overlaps = compute_overlaps([draw_blob(100, box) for box in boxes.values()])
    facts = PictureFacts((100, 100), regions, ("fracture",), "endoscopy", "colon", (0.5, 0.5), overlaps)
    asked = _ask(facts)
    assert {one.answer for one in asked["presence"] if one.target != "fracture"} == {"yes"}
    assert [one.answer for one in asked["presence"] if one.target == "fracture"] == ["no"]
    assert [one.answer for one in asked["where"]] == ["upper left", "lower right"]
    assert [one.answer for one in asked["larger"]] == ["polyp"]
    assert [one.answer for one in asked["beside"]] == ["left"]
    assert [one.answer for one in asked["overlap"]] == ["no"]
    assert asked["share"][0].answer == "16%"
    assert asked["length"][0].answer == f"{np.hypot(20, 20):.2g} mm"
    assert asked["modality"][0].answer == "endoscopy"
    for drafted in (one for found in asked.values() for one in found if one.options):
        assert parse_answer(drafted.answer, drafted.options).option == drafted.answer


def test_what_is_there_twice_is_not_asked_by_name():
    regions = (_measure("cell", (5, 5, 20, 20)), _measure("cell", (50, 50, 70, 70)))
    assert _ask(PictureFacts((100, 100), regions)) == {}


def test_a_kind_of_a_target_is_not_compared_with_it():
    regions = (_measure("tumor", (5, 5, 20, 20)), _measure("malignant tumor", (5, 5, 60, 60)))
    facts = PictureFacts((100, 100), regions, overlaps=((0, 1, 225),))
    assert not {"larger", "beside", "overlap"} & set(_ask(facts))


def test_counted_only_where_each_was_outlined():
    one = PictureFacts((100, 100), (_measure("cell", (5, 5, 20, 20), instances=7),))
    assert [drafted.answer for drafted in _ask(one)["count"]] == ["7"]
    assert "box" not in _ask(one)


SEGMENTS = (
    Segment(2, 8, "incision"),
    Segment(8, 30, "dissection"),
    Segment(31, 36, "clipping"),
    Segment(40, 44, "incision"),
)


def _ask_timed(seed: int = 0, absent: tuple[str, ...] = ("suturing",)) -> dict[str, list]:
    asked: dict[str, list] = {}
    for drafted in write_timed_questions(SEGMENTS, 60.0, absent, random.Random(seed)):
        asked.setdefault(drafted.group, []).append(drafted)
    return asked


def test_questions_of_segments_have_their_answers():
    asked = _ask_timed()
    assert {one.target: one.interval_s for one in asked["when"]} == {"dissection": (8, 30), "clipping": (31, 36)}
    assert {one.target: one.answer for one in asked["how_often"]} == {
        "incision": "2",
        "dissection": "1",
        "clipping": "1",
    }
    assert {one.target: one.answer for one in asked["did"]} == {
        "incision": "yes",
        "dissection": "yes",
        "clipping": "yes",
        "suturing": "no",
    }
    assert [(one.target, one.answer) for one in asked["order"]] == [("dissection", "dissection")]
    assert [one.answer for one in asked["longer"]] == ["dissection"]
    assert parse_answer(asked["describe"][0].answer).events == tuple((s.start_s, s.end_s, s.label) for s in SEGMENTS)


def test_the_first_that_is_named_is_not_the_answer_more_often():
    first = 0
    for seed in range(400):
        drafted = _ask_timed(seed)["order"][0]
        first += drafted.question.index(drafted.answer) < drafted.question.index("clipping")
    assert 150 < first < 250
