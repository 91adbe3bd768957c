"""Questions about phantoms: their words alone tell nothing, and their truth is in them once."""

from collections import Counter

import numpy as np
import pytest

from ophiscope.core.result import ResultKind
from ophiscope.worlds.asks import AskKind, Posed, pose_question
from ophiscope.worlds.draw import HELD_OUT_SIZE, TRAIN_SIZES, Needle, Recipe, draw_world
from ophiscope.worlds.study import build_lazy_phantom
from ophiscope.worlds.world import Detail, Look, Outline, World
from world_cases import draw_task


def draw_questions(needle: Needle, seeds: range, each: int) -> list[tuple[World, Posed]]:
    """``each`` questions about every world; a world costs more than a question."""
    drawn = []
    for seed in seeds:
        world = draw_world(seed, Recipe(needle))
        study = build_lazy_phantom(world)
        rng = np.random.default_rng([seed, 17])
        drawn += [(world, pose_question(rng, world, study, needle)) for _ in range(each)]
    return drawn


def test_yes_and_no_are_equally_likely_where_several_are_searched() -> None:
    answers: Counter[str] = Counter()
    by_detail: dict[Detail | None, Counter[str]] = {}
    for _, posed in draw_questions(Needle.L3, range(450), 4):
        if posed.ask.kind is AskKind.ANY_WITH:
            answers[posed.key.text] += 1
            by_detail.setdefault(posed.ask.detail, Counter())[posed.key.text] += 1
    assert set(answers) == {"yes", "no"}
    assert answers.total() >= 400
    assert 0.4 <= answers["yes"] / answers.total() <= 0.6
    for detail, counted in by_detail.items():
        assert 0.35 <= counted["yes"] / counted.total() <= 0.65, (detail, counted)


@pytest.mark.parametrize("needle", Needle)
def test_the_answer_is_one_of_the_options_and_only_once(needle: Needle) -> None:
    with_options = 0
    for world, posed in draw_questions(needle, range(120), 3):
        case, key = posed.case, posed.key
        if not case.options:
            assert key.kind is not ResultKind.OPTION
            continue
        with_options += 1
        if key.kind is ResultKind.INSUFFICIENT:
            assert key.text not in case.options
        else:
            assert key.kind is ResultKind.OPTION
            assert case.options.count(key.text) == 1, (world.seed, case.question, case.options, key.text)
    assert with_options >= 20


def test_options_come_in_any_order() -> None:
    places = Counter(
        posed.case.options.index(posed.key.text)
        for _, posed in draw_questions(Needle.L1, range(250), 2)
        if len(posed.case.options) == 4 and posed.key.kind is ResultKind.OPTION
    )
    assert places.total() > 60
    assert all(0.12 <= places[place] / places.total() <= 0.4 for place in range(4)), places


@pytest.mark.parametrize("needle", Needle)
def test_words_follow_from_what_is_meant(needle: Needle) -> None:
    for _, posed in draw_questions(needle, range(40), 3):
        text = posed.case.question
        assert text[0].isupper()
        assert text[-1] in "?."
        assert "  " not in text
        assert "{" not in text
        for word in (posed.ask.organ, posed.ask.selector):
            assert word in text
        if posed.ask.wanted and not posed.ask.wanted.isdigit():
            assert posed.ask.wanted in text


@pytest.mark.parametrize("needle", Needle)
def test_keys_say_what_is_needed(needle: Needle) -> None:
    for world, posed in draw_questions(needle, range(40), 2):
        key = posed.key
        assert key.least_calls >= len(key.needed_tools)
        for box in key.evidence_boxes:
            assert box.frame.size_wh == world.size_wh
        if needle is Needle.PLAIN:
            assert key.group == posed.ask.kind.value
        else:
            assert key.group == needle.value
            assert key.needed_tools == (("window", "zoom_in") if needle is Needle.W else ("zoom_in",))


def test_a_selector_tells_two_lesions_apart() -> None:
    selected = 0
    for seed in range(120):
        task = draw_task(seed, Needle.L1)
        selector = task.posed.ask.selector
        if not selector:
            assert len(task.world.lesions) == 1
            continue
        selected += 1
        (ax, ay), (bx, by) = (lesion.blob.centre_xy for lesion in task.world.lesions)
        if selector in ("left", "right"):
            assert abs(ax - bx) >= abs(ay - by)
        elif selector in ("upper", "lower"):
            assert abs(ay - by) > abs(ax - bx)
    assert selected > 20


def test_what_is_held_out_is_never_drawn_for_training() -> None:
    for needle in Needle:
        for seed in range(60):
            world = draw_world(seed, Recipe(needle))
            assert world.look is not Look.XRAY
            assert world.size_wh[0] != HELD_OUT_SIZE
            assert world.size_wh[0] in TRAIN_SIZES or needle is Needle.L2
            assert all(lesion.outline is not Outline.ANGULAR for lesion in world.lesions)
