"""The oracle acts on what has been shown, and on nothing else.

A pair of worlds that differ in hidden details is asked the same question. As long as both have shown the same, both
must have been told the same; this locks what a trajectory of training may know.
"""

import gc
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.chat import FinishReason, Request
from ophiscope.core.frame import Frame
from ophiscope.core.framing import compute_zoom_frame
from ophiscope.core.message import Message, Role
from ophiscope.core.region import clip_box
from ophiscope.core.result import ResultKind
from ophiscope.core.trace import StopReason
from ophiscope.metrics.overlap import compute_box_overlap
from ophiscope.protocol.grammar import parse_reply
from ophiscope.worlds.asks import AskKind, pose_question
from ophiscope.worlds.draw import Needle, Recipe, draw_world
from ophiscope.worlds.oracle import build_oracle
from ophiscope.worlds.percepts import compute_seen
from ophiscope.worlds.render import PhantomSource
from ophiscope.worlds.study import build_lazy_phantom
from ophiscope.worlds.world import Detail, Lesion, Margin, Pattern, World
from world_cases import CARD, HIDING, POLICY, Ran, Task, build_twin, draw_task, list_turns, run_oracle, run_seed, see

SEEDS = range(60)
SEARCHES = (AskKind.ANY_WITH, AskKind.COUNT_WITH, AskKind.WHERE_WITH)
_WANTED = re.compile(r"wanted \w+")
_WORDS = re.compile(r"\b(" + "|".join([*Pattern, *Margin]) + r"|\d+(?= calcification))", re.IGNORECASE)


def ask_of_twin(task: Task) -> Task:
    """The same words about a world in which every lesion has another answer."""
    twin = build_twin(task.world)
    case = replace(task.posed.case, studies=(build_lazy_phantom(twin),))
    return Task(twin, task.posed._replace(case=case))


@pytest.mark.parametrize("needle", HIDING)
def test_what_looks_alike_is_answered_alike(needle: Needle) -> None:
    resolved = 0
    for seed in range(16):
        task = draw_task(seed, needle)
        other = ask_of_twin(task)
        one, two = run_oracle(task).outcome.messages, run_oracle(other).outcome.messages
        for mine, theirs in zip(one, two, strict=False):
            if see(task.world, mine) != see(other.world, theirs):
                resolved += 1
                break
            assert mine.text == theirs.text, (seed, mine.text, theirs.text)
        else:
            assert len(one) == len(two)
            # never resolved: the question was about something that both worlds lack
            assert all(lesion.organ != task.posed.ask.organ for lesion in task.world.lesions) or (
                task.posed.ask.kind is AskKind.LESION_IN_ORGAN
            )
    assert resolved >= 8


@pytest.mark.parametrize("needle", HIDING)
def test_the_overview_alone_never_resolves_a_needle(needle: Needle) -> None:
    for seed in SEEDS:
        task = draw_task(seed, needle)
        (shown, _), *_ = list_turns(run_seed(seed, needle).outcome.messages)
        seen = [lesion for message in shown for view in see(task.world, message) for lesion in view.lesions]
        assert all(lesion.answer is None for lesion in seen)
        if needle in (Needle.L2, Needle.W):
            assert not seen


def test_candidates_are_checked_from_left_to_right_whatever_they_are() -> None:
    checked = 0
    for seed in SEEDS:
        ran = run_seed(seed, Needle.L3)
        if ran.posed.ask.kind not in SEARCHES:
            continue
        order = sorted(lesion.blob.centre_xy[0] for lesion in ran.world.lesions)
        zooms = [view.picture.frame.root_box_xyxy for view in ran.outcome.views[1:]]
        for place, (x0, _, x1, _) in zip(order, zooms, strict=False):
            assert x0 < place < x1, seed
        assert len(zooms) <= len(order)
        checked += len(zooms)
    assert checked > 60


@pytest.mark.parametrize("needle", HIDING)
def test_answers_are_right(needle: Needle) -> None:
    wrong = [seed for seed in SEEDS if not is_right(run_seed(seed, needle))]
    assert len(wrong) <= 0.01 * len(SEEDS), wrong


def test_plain_answers_are_right() -> None:
    wrong = [seed for seed in SEEDS if not is_right(run_seed(seed, Needle.PLAIN))]
    assert len(wrong) <= 0.01 * len(SEEDS), wrong


def is_right(ran: Ran) -> bool:
    answer, key = ran.outcome.answer, ran.posed.key
    if answer is None:
        return False
    if ran.posed.ask.kind is AskKind.SHARE:
        area = sum(math.pi * math.prod(lesion.blob.radii_xy) for lesion in ran.world.lesions)
        share = float(answer.text.removesuffix(" of the image"))
        return 0.8 < share * math.prod(ran.world.size_wh) / area < 1.8
    if key.kind is ResultKind.BOX:
        said, true = ran.outcome.result, key.evidence_boxes[0].root_xyxy
        assert said is not None
        return said.box_xyxy is not None and (compute_box_overlap(said.box_xyxy, true).iou or 0.0) > 0.9
    if key.kind is ResultKind.MASK:
        return ran.outcome.result is not None and ran.outcome.result.kind is ResultKind.MASK
    return answer.text.casefold() == key.text.casefold()


@pytest.mark.parametrize("needle", Needle)
def test_thoughts_name_a_detail_only_once_it_was_resolved(needle: Needle) -> None:
    named = 0
    for seed in SEEDS:
        ran = run_seed(seed, needle)
        for shown, turn in list_turns(ran.outcome.messages):
            views = [view for message in shown for view in see(ran.world, message)]
            resolved = {lesion.answer for view in views for lesion in view.lesions}
            thought = _WANTED.sub("", parse_reply(turn.text).think)  # known from the question
            for word in _WORDS.findall(thought):
                assert word.casefold() in resolved, (seed, turn.text)
                named += 1
    assert named > 20 or needle is Needle.PLAIN


def find_points(ran: Ran, shown: Sequence[Message], thought: str) -> list[tuple[float, float]]:
    """The places that a thought names of the last view shown, in root pixels."""
    frame = next(view.picture.frame for message in reversed(shown) for view in reversed(message.views))
    (ox, oy), (sx, sy), (w, h) = frame.origin_xy, frame.scale_xy, frame.size_wh
    named = re.findall(r"\[(\d+), (\d+)\]", thought)
    return [(ox + int(x) / 1000 * w * sx, oy + int(y) / 1000 * h * sy) for x, y in named]


@pytest.mark.parametrize("needle", HIDING)
def test_what_is_counted_is_pointed_out_from_left_to_right_and_lies_there(needle: Needle) -> None:
    counted = 0
    for seed in SEEDS:
        ran = run_seed(seed, needle)
        for shown, turn in list_turns(ran.outcome.messages):
            thought = parse_reply(turn.text).think
            said = re.search(r"It has (\d) calcification", thought)
            if said is None:
                assert "Seen at" not in thought or len(shown) == 2, (seed, thought)  # candidates, seen in the overview
                continue
            points = find_points(ran, shown, thought)
            assert len(points) == int(said[1]), (seed, thought)
            assert points == sorted(points, key=lambda point: point[0])
            x, y = points[0]
            lesion = min(ran.world.lesions, key=lambda lesion: math.dist(lesion.blob.centre_xy, (x, y)))
            half = lesion.fine_px / 2
            for dot in lesion.dots_root_xy:
                assert any(math.dist(dot, point) < half for point in points), (seed, thought)
            counted += 1
    assert counted >= 10


@pytest.mark.parametrize("needle", Needle)
def test_trajectories_are_valid_and_no_shorter_than_the_truth_allows(needle: Needle) -> None:
    for seed in SEEDS:
        ran = run_seed(seed, needle)
        assert ran.outcome.stop is StopReason.ANSWERED, seed
        assert ran.outcome.valid_calls == ran.outcome.attempted_calls, seed
        assert ran.posed.key.least_calls <= ran.outcome.attempted_calls, seed
        assert ran.outcome.answer is not None
        if ran.outcome.attempted_calls:
            assert ran.outcome.answer.cited, seed


def test_nothing_that_a_model_is_given_leads_to_the_truth() -> None:
    for needle in Needle:
        task = draw_task(5, needle)
        requests = [
            Request("s", shown, seed=0, max_tokens=9) for shown, _ in list_turns(run_oracle(task).outcome.messages)
        ]
        waiting: list[object] = [*requests]
        seen: set[int] = set()
        while waiting:
            thing = waiting.pop()
            if id(thing) in seen or isinstance(thing, type) or callable(thing):
                continue
            seen.add(id(thing))
            assert not isinstance(thing, World | Lesion | AnswerKey | PhantomSource), (needle, thing)
            waiting += gc.get_referents(thing)


def test_what_tools_say_does_not_depend_on_hidden_truth() -> None:
    for seed in range(8):
        task = draw_task(seed, Needle.L3)
        other = ask_of_twin(task)
        one, two = run_oracle(task).outcome.messages, run_oracle(other).outcome.messages
        for mine, theirs in zip(one, two, strict=False):
            if mine.role is Role.ASSISTANT and mine.text != theirs.text:
                break
            assert mine.text == theirs.text


def test_the_same_question_is_drawn_again() -> None:
    for needle in Needle:
        world = draw_world(11, Recipe(needle))
        study = build_lazy_phantom(world)
        first, again = (pose_question(np.random.default_rng(2), world, study, needle) for _ in range(2))
        assert (first.ask, first.case.question, first.case.options) == (
            again.ask,
            again.case.question,
            again.case.options,
        )


@pytest.mark.parametrize("needle", HIDING)
def test_a_percept_is_that_of_the_view_not_of_the_truth(needle: Needle) -> None:
    """Where a view resolves no detail, a world of other details is seen alike; where it resolves one, it is not."""
    resolved = 0
    for seed in range(30):
        ran = run_seed(seed, needle)
        twin = build_twin(ran.world)
        for view in ran.outcome.views:
            frame, window = view.picture.frame, view.picture.window
            mine, theirs = compute_seen(ran.world, frame, window), compute_seen(twin, frame, window)
            named = any(lesion.answer is not None for lesion in mine.lesions)
            assert (mine != theirs) == named, (seed, view.handle)
            resolved += int(named)
    assert resolved >= 15


_COMPASS = ((0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))


def find_answer(world: World, lesion: Lesion, dots_xy: tuple[tuple[float, float], ...], frame: Frame) -> str | None:
    """What ``frame`` says of the lesion, were its calcifications at ``dots_xy``."""
    moved = replace(world, lesions=(replace(lesion, dots_xy=dots_xy), *world.lesions[1:]))
    seen = compute_seen(moved, frame, None).lesions
    return next((spot.answer for spot in seen if spot.centre_root_xy == lesion.blob.centre_xy), None)


def shows(frame: Frame, lesion: Lesion) -> bool:
    """True where no calcification of the lesion lies outside of the frame."""
    a0, b0, a1, b1 = frame.root_box_xyxy
    (x, y), (rx, ry) = lesion.blob.centre_xy, lesion.blob.radii_xy
    return all(a0 < x + u * rx < a1 and b0 < y + v * ry < b1 for u, v in lesion.dots_xy)


def test_what_is_counted_is_in_view_as_a_whole() -> None:
    """A view that may have cut a calcification off says no number, whether it cut one off or not.

    So of two lesions that differ in nothing but where their calcifications lie, both are counted or neither is.
    """
    rng = np.random.default_rng(0)
    counted = cut = 0
    for seed in range(120):
        world = draw_world(seed, Recipe(Needle.L1))
        lesion = world.lesions[0]
        if lesion.detail is not Detail.CALCIFICATIONS:
            continue
        x0, y0, x1, y1 = lesion.box_xyxy
        side = 1.3 * max(x1 - x0, y1 - y0)
        for _ in range(4):
            left, top = (value - 0.15 * side + rng.normal(0, 0.25) * side for value in (x0, y0))
            box = clip_box(Frame("w", world.size_wh), (left, top, left + side, top + side)).box
            frame = compute_zoom_frame(Frame("w", world.size_wh), box, POLICY, context=0.0)
            places = [lesion.dots_xy, *((((0.7 * u, 0.7 * v),) * len(lesion.dots_xy)) for u, v in _COMPASS)]
            answers = {find_answer(world, lesion, dots, frame) for dots in places}
            assert len(answers) == 1, (seed, answers)
            (said,) = answers
            if said is None:
                cut += not shows(frame, lesion)
                continue
            counted += 1
            assert said == str(len(lesion.dots_xy))
            assert shows(frame, lesion)
    assert min(counted, cut) > 15


def test_an_oracle_is_a_model_like_any_other() -> None:
    task = draw_task(1, Needle.L1)
    shown, _ = next(list_turns(run_seed(1, Needle.L1).outcome.messages))
    reply = build_oracle(task.world, task.posed.ask, CARD).sample([Request("s", shown, seed=0, max_tokens=64)])[0]
    assert reply.finish is FinishReason.STOP
    assert reply.token_ids is None
