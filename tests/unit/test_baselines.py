"""What a model has to be better than: constants, words alone, fixed and random looks, equal pixels without tools."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from episode_cases import ZOOM, build_colour_study, build_test_setup, write_call
from ophiscope.agent.assemble import SetupOptions, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.values import render_question
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.region import Box
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.errors import ModelFailed, WrongInput
from ophiscope.eval.arms import BASELINES
from ophiscope.eval.baselines import BASELINE_CARD, AlwaysZoom, BlindModel, RandomLooks, parse_question
from ophiscope.eval.benchmark import BenchOptions
from ophiscope.eval.benchmarks import phantom_image
from ophiscope.eval.equal_tokens import FULL, build_overview, build_tiles, choose_equal, cut_tiles, parse_equal
from ophiscope.eval.guessing import (
    BOX,
    Example,
    Majority,
    QuestionOnly,
    fit_majority,
    fit_question_only,
    read_example,
)
from ophiscope.eval.items import EvalItem
from ophiscope.media.render import render_picture
from ophiscope.metrics.answers import GradeReason
from ophiscope.metrics.stats import compute_wilson
from ophiscope.models.scripted import SCRIPTED_CARD, ScriptedModel
from ophiscope.protocol.grammar import parse_reply
from ophiscope.recipes.baselines.crop import CropClassifier, find_target
from ophiscope.recipes.baselines.fit import FIRST_SEED, Sample, fit_crop, list_training
from ophiscope.recipes.baselines.saved import Kind, load_baseline, save_baseline
from ophiscope.recipes.nano_video.shape import CARD as VIDEO_CARD
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.tasks import SHORT, draw_video_task

RNG = np.random.default_rng(0)
YES = "<answer>yes</answer>"
COLOURS = [
    Example("What colour is it?", ("red", "blue"), "red"),
    Example("What colour is it?", ("blue", "red"), "blue"),
    Example("What  colour is it?", ("blue", "red"), "blue"),
    Example("Is it there?", (), "no"),
    Example("How many?", (), "2"),
    Example("Was it there?", (), "no"),
]


def build_item(case: Case | None = None) -> EvalItem:
    case = case or Case((build_colour_study(),), "Is there a bright square?")
    box = Box(case.studies[0].frame, 200.0, 100.0, 300.0, 180.0)
    return EvalItem(case, AnswerKey(ResultKind.BOX, "box", evidence_boxes=(box,)))


def run_item(item: EvalItem, model: ChatModel) -> Outcome:
    setup = build_test_setup(item.case, model)
    return collect_episode(item.case, model, setup, session="s", serve=item.serve)


def draw_video_case() -> Case:
    return draw_video_task(1, ProcedureKind.WHEN, SHORT).case


def write_request(question: str, *views: object, said: Sequence[str] = ()) -> Request:
    parts = (*(ImagePart(view) for view in views), TextPart(f"view 1: S1\n{question}"))  # type: ignore[arg-type]
    messages = [Message(Role.SYSTEM, (TextPart("Look."),)), Message(Role.USER, parts)]
    messages += [Message(Role.ASSISTANT, (TextPart(text),)) for text in said]
    return Request("s", tuple(messages), seed=0, max_tokens=10)


# --- words alone


def test_the_majority_is_the_commonest_answer_to_the_same_words() -> None:
    fitted = fit_majority(COLOURS)
    assert fitted.guess("What colour is it?", ("red", "blue")) == "blue"
    assert fitted.guess("What colour is it?", ("blue", "red")) == "blue"
    assert fitted.guess("How many?", ()) == "2"
    assert fitted.guess("Never asked?", ()) == "no"
    assert fitted.guess("Never asked?", ("x", "y")) == "x"
    assert {entry.n for entry in fitted.entries if entry.options} == {3}
    with pytest.raises(ValueError, match="at least one is needed"):
        fit_majority([])


def test_names_of_one_of_two_lesions_count_as_one() -> None:
    examples = [Example(f"What of the {word} lesion?", (), "dark") for word in ("left", "larger", "upper")]
    assert len(fit_majority(examples).entries) == 1


def test_a_constant_box_is_the_median_of_each_edge() -> None:
    boxes = [(0.1, 0.2, 0.3, 0.4), (0.2, 0.2, 0.5, 0.5), (0.9, 0.3, 1.0, 0.4)]
    fitted = fit_majority([Example("Where?", (), BOX, box) for box in boxes])
    assert fitted.guess("Where?", ()) == "box [200, 200, 500, 400]"
    example = read_example(build_item())
    assert example is not None
    assert example.answer == BOX
    assert example.box_share == pytest.approx((0.5, 1 / 3, 0.75, 0.6))


def test_outlines_and_stretches_have_no_constant() -> None:
    item = build_item()
    for kind in (ResultKind.MASK, ResultKind.INTERVAL, ResultKind.TIME, ResultKind.POINT):
        assert read_example(replace(item, key=replace(item.key, kind=kind))) is None


def test_the_majority_does_as_well_on_new_seeds_as_it_says() -> None:
    def read(first: int, n: int) -> list[Example]:
        sources = list_training("phantom-image", range(first, first + n))
        return [one for source in sources if (one := read_example(source.build())) is not None and one.answer != BOX]

    def count(fitted: Majority | QuestionOnly, examples: Sequence[Example]) -> tuple[int, int]:
        return sum(fitted.guess(one.question, one.options) == one.answer for one in examples), len(examples)

    learned, fresh, other = read(FIRST_SEED, 3000), read(FIRST_SEED + 10_000, 1000), read(FIRST_SEED + 20_000, 1000)
    majority = fit_majority(learned)
    spans = [compute_wilson(*count(majority, part)) for part in (fresh, other)]
    assert spans[0].low < spans[1].high
    assert spans[1].low < spans[0].high
    hits, n = count(majority, fresh)
    # no better than the same constants counted on these very questions, and far from knowing
    assert hits <= count(fit_majority(fresh), fresh)[0]
    assert hits / n < 0.55
    always_same = max(Counter(one.answer for one in fresh).values())
    assert hits > always_same
    words = fit_question_only(learned)
    assert compute_wilson(*count(words, fresh)).low < spans[0].high
    assert count(words, fresh)[0] > always_same


def test_the_regression_learns_from_words_and_keeps_to_the_options() -> None:
    examples = [
        *[Example("Is the liver dark?", (), "yes")] * 3,
        *[Example("Is the lung dark?", (), "no")] * 3,
        *[Example("Is the spleen dark?", ("a", "b"), "b")] * 3,
    ]
    fitted = fit_question_only(examples)
    assert fitted.guess("Is the liver dark?", ()) == "yes"
    assert fitted.guess("Was the lung so dark?", ()) == "no"
    assert fitted.guess("Is the liver dark?", ("a", "b")) == "b"
    assert fitted.guess("Is the liver dark?", ("new", "other")) == "new"


def test_the_regression_reaches_the_minimum_of_its_loss() -> None:
    """With only a constant to learn (no penalty on it), the shares must be those of the answers: log-odds of 3 to 1."""
    examples = [Example("?", (), "a")] * 3 + [Example("?", (), "b")]
    fitted = fit_question_only(examples, l2=10.0, steps=2000)
    scores = fitted.weights_F_A[-1] + fitted.weights_F_A[: len(fitted.features)].sum(axis=0)
    assert scores[fitted.answers.index("a")] - scores[fitted.answers.index("b")] == pytest.approx(np.log(3), abs=1e-3)


def test_the_regression_says_a_place_where_one_is_likeliest() -> None:
    examples = [Example("Where is it?", (), BOX, (0.1, 0.1, 0.2, 0.2))] * 3 + [Example("Is it?", (), "yes")]
    assert fit_question_only(examples).guess("Where is it?", ()) == "box [100, 100, 200, 200]"


@pytest.mark.parametrize("options", [(), ("red", "blue"), ("a | b", "c"), ("A. x", "one, two")])
def test_a_question_is_read_as_it_was_written(options: tuple[str, ...]) -> None:
    case = Case((build_colour_study(),), "Which colour?\nSay it: now", options)
    question, found = parse_question(write_request(render_question(case)))
    assert (question, found) == (case.question, options)


def test_a_blind_model_answers_at_once_whatever_is_shown() -> None:
    model = BlindModel(lambda question, options: options[-1] if options else "yes")
    dark = Case((build_colour_study(),), "Which?", ("x", "y"))
    outcome = run_item(build_item(dark), model)
    assert outcome.answer is not None
    assert (outcome.answer.text, outcome.attempted_calls) == ("y", 0)
    asked = write_request("Question: Is it?")
    assert model.sample([asked])[0].text == "<answer>yes</answer>"
    assert model.sample([write_request("Question: Is it?", said=["<answer>box [0]</answer>"])])[0].text == (
        "<answer>cannot tell</answer>"
    )


# --- fixed and random looks


def test_always_zoom_looks_at_the_middle_half_first() -> None:
    shown: list[object] = []

    def say(request: Request) -> str:
        shown.extend(view.picture.frame.root_box_xyxy for message in request.messages for view in message.views)
        return YES

    outcome = run_item(build_item(), AlwaysZoom(ScriptedModel(say)))
    assert outcome.replies[0].text == write_call("zoom_in", view=1, box=[250, 250, 750, 750])
    x0, y0, x1, y1 = shown[-1]  # type: ignore[misc]
    assert (x0 + x1) / 2 == pytest.approx(200, abs=1)
    assert (y0 + y1) / 2 == pytest.approx(150, abs=1)
    assert outcome.turns == 2


def ask_random(text: str, case: Case, *, seed: int = 0, card: ModelCard = SCRIPTED_CARD) -> dict[str, object]:
    """The arguments of a call after it was moved."""
    moved: list[str] = []

    def say(request: Request) -> str:
        return YES if any(message.role is Role.ASSISTANT for message in request.messages) else text

    class Kept(RandomLooks):
        def sample(self, requests: Sequence[Request]) -> list[Reply]:
            replies = super().sample(requests)
            moved.extend(reply.text for reply in replies)
            return replies

    model = Kept(ScriptedModel(say, card), seed=seed)
    collect_episode(case, model, build_setup(case, model, None, SetupOptions()), session="s")
    return dict(parse_reply(moved[0]).arguments)  # type: ignore[union-attr]


def test_a_random_box_has_the_same_size_and_another_place() -> None:
    case = build_item().case
    places = [ask_random(ZOOM, case, seed=seed)["box"] for seed in range(20)]
    x0, y0, x1, y1 = parse_reply(ZOOM).arguments["box"]  # type: ignore[union-attr]
    for box in places:
        assert box[2] - box[0] == pytest.approx(x1 - x0, abs=1)  # type: ignore[index]
        assert box[3] - box[1] == pytest.approx(y1 - y0, abs=1)  # type: ignore[index]
        assert min(box) >= 0  # type: ignore[call-overload]
        assert max(box) <= 1000  # type: ignore[call-overload]
    assert len({tuple(box) for box in places}) > 15  # type: ignore[arg-type]
    assert places[3] == ask_random(ZOOM, case, seed=3)["box"]


def test_random_boxes_stay_in_the_view_where_numbers_are_its_pixels() -> None:
    case = build_item().case
    card = replace(SCRIPTED_CARD, coords="absolute_px")
    call = write_call("zoom_in", view=1, box=[10, 10, 110, 60])
    places = [ask_random(call, case, seed=seed, card=card)["box"] for seed in range(20)]
    w, h = compute_view_size(case, card)
    assert all(box[2] <= w and box[3] <= h for box in places)  # type: ignore[index]
    assert max(box[2] for box in places) > 0.7 * w  # type: ignore[index]


def compute_view_size(case: Case, card: ModelCard) -> tuple[int, int]:
    model = ScriptedModel([YES], card)
    outcome = collect_episode(case, model, build_setup(case, model, None, SetupOptions()), session="s")
    return outcome.views[0].picture.frame.size_wh


def test_random_stretches_keep_their_length_and_stay_inside() -> None:
    case = draw_video_case()
    length_s = case.studies[0].header.axes[0].end
    call = write_call("crop_video", start_s=1.0, end_s=6.0)
    places = [ask_random(call, case, seed=seed, card=VIDEO_CARD) for seed in range(20)]
    starts = [float(place["start_s"]) for place in places]  # type: ignore[arg-type]
    for start, place in zip(starts, places, strict=True):
        assert float(place["end_s"]) - start == pytest.approx(5.0, abs=0.011)  # type: ignore[arg-type]
        assert 0 <= start <= length_s - 5
    assert max(starts) - min(starts) > 0.4 * length_s
    moment = ask_random(write_call("get_frame", time_s=1.0), case, card=VIDEO_CARD)["time_s"]
    assert moment != 1.0
    assert 0 <= float(moment) < length_s  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        write_call("zoom_in", view=9, box=[0, 0, 10, 10]),
        write_call("zoom_in", view=1, box=[10, 10, 5, 5]),
        write_call("zoom_in", view=1, box=["a", 1, 2, 3]),
        write_call("measure", evidence="E1"),
    ],
)
def test_calls_that_name_no_place_are_left_as_they_are(call: str) -> None:
    assert ask_random(call, build_item().case) == dict(parse_reply(call).arguments)  # type: ignore[union-attr]


def test_one_failure_of_the_model_spares_the_others() -> None:
    def say(request: Request) -> Reply:
        if request.seed == 1:
            raise ModelFailed("no")
        return Reply(YES, FinishReason.STOP)

    requests = [replace(write_request("Question: Is it?"), seed=seed) for seed in (0, 1)]
    with pytest.raises(ModelFailed) as caught:
        RandomLooks(ScriptedModel(say), seed=0).sample(requests)
    assert [type(outcome).__name__ for outcome in caught.value.outcomes] == ["Reply", "ModelFailed"]  # type: ignore[attr-defined]


def test_text_without_pixels_keeps_the_text_and_shows_grey() -> None:
    item = build_item()
    model = ScriptedModel([ZOOM, YES])
    prepared = BASELINES["text-only"].prepare_item(item, build_test_setup(item.case, model), RNG)
    assert prepared is not None
    blank, plain = run_item(prepared.item, model), run_item(item, model)
    assert [message.text for message in blank.messages] == [message.text for message in plain.messages]
    assert np.ptp(blank.views[1].picture.pixels_H_W_3) == 0
    assert np.ptp(plain.views[1].picture.pixels_H_W_3) > 0
    assert (blank.views[0].picture.pixels_H_W_3 == plain.views[0].picture.pixels_H_W_3).all()


# --- equal pixels without tools


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 2), (3, 2), (7, 5)])
def test_tiles_cover_the_picture_exactly(columns: int, rows: int) -> None:
    study = build_colour_study(size_wh=(401, 299))
    whole = study.source.read_root()
    tiles = cut_tiles(study, columns, rows)
    seen = np.zeros(whole.shape[:2], dtype=int)
    rebuilt = np.zeros_like(whole)
    for tile in tiles:
        left, top, right, bottom = map(int, tile.header.root.partition("#tile=")[2].split(","))
        seen[top:bottom, left:right] += 1
        rebuilt[top:bottom, left:right] = tile.source.read_root()
        assert tile.header.size_wh == (right - left, bottom - top)
    assert len(tiles) == columns * rows
    assert (seen == 1).all()
    assert (rebuilt == whole).all()
    assert len({tile.header.root for tile in tiles} | {tile.header.study for tile in tiles}) == 2 * len(tiles)


def test_a_tile_shows_what_its_part_of_the_picture_shows() -> None:
    study = next(phantom_image.BENCHMARKS[0].open(BenchOptions(count=2)).sources[1].build().case.studies.__iter__())
    w, h = study.header.size_wh
    tile = cut_tiles(study, 2, 2)[3]
    inner = tile.frame.window((10.0, 20.0, 110.0, 120.0), (50, 50))
    outer = study.frame.window((w // 2 + 10.0, h // 2 + 20.0, w // 2 + 110.0, h // 2 + 120.0), (50, 50))
    assert (render_picture(tile, inner).pixels_H_W_3 == render_picture(study, outer).pixels_H_W_3).all()


def test_tiles_stand_beside_the_overview_and_answers_name_the_whole() -> None:
    item, arm = build_item(), build_tiles(2, 2)
    model = ScriptedModel(["<answer>box [500, 333, 750, 600]</answer>"])
    prepared = arm.prepare_item(item, build_test_setup(item.case, model), RNG)
    assert prepared is not None
    assert arm.tools == "none"
    outcome = run_item(prepared.item, model)
    assert [view.picture.study for view in outcome.views] == ["S1", "S1-1", "S1-2", "S1-3", "S1-4"]
    assert prepared.item.judge(outcome, item.key).correct
    in_tile = run_item(prepared.item, ScriptedModel(["<answer>box [500, 333, 750, 600] in view 3</answer>"]))
    grade = prepared.item.judge(in_tile, item.key)
    assert (grade.correct, grade.reason) == (False, GradeReason.OTHER_IMAGE)


def test_tiles_leave_videos_out_and_have_a_bound() -> None:
    case = draw_video_case()
    model = ScriptedModel([YES], VIDEO_CARD)
    setup = build_setup(case, model, None, SetupOptions(tools="none"))
    assert build_tiles(2, 2).prepare_item(EvalItem(case, build_item().key), setup, RNG) is None
    assert FULL.prepare_item(EvalItem(case, build_item().key), setup, RNG) is None
    with pytest.raises(WrongInput, match="72 tiles; 1 to 64"):
        build_tiles(9, 8)


def sum_pixels(outcome: Outcome) -> int:
    return sum(w * h for view in outcome.views for w, h in (view.picture.frame.size_wh,))


@pytest.mark.parametrize("budget", [20_000, 60_000, 200_000])
def test_a_larger_overview_has_about_the_pixels_asked_for(budget: int) -> None:
    item, model = build_item(), ScriptedModel([YES])
    prepared = build_overview(budget).prepare_item(item, build_test_setup(item.case, model), RNG)
    assert prepared is not None
    outcome = collect_episode(item.case, model, prepared.setup, session="s")
    assert sum_pixels(outcome) == pytest.approx(budget, rel=0.15)


def test_an_overview_is_no_larger_than_the_model_takes() -> None:
    item, model = build_item(), ScriptedModel([YES])
    prepared = build_overview(9_000_000).prepare_item(item, build_test_setup(item.case, model), RNG)
    assert prepared is not None
    assert prepared.setup.policy.max_view_px == model.card.max_view_px


def test_the_pixels_of_a_video_are_spent_on_frames() -> None:
    case = draw_video_case()
    model = ScriptedModel([YES], VIDEO_CARD)
    setup = build_setup(case, model, None, SetupOptions(tools="none"))
    few = collect_episode(case, model, setup, session="s")
    arm = build_overview(2 * sum_pixels(few))
    prepared = arm.prepare_item(EvalItem(case, build_item().key), setup, RNG)
    assert prepared is not None
    more = collect_episode(case, model, prepared.setup, session="s")
    assert len(more.views) == 2 * len(few.views)


def test_full_resolution_is_one_view_as_large_as_the_picture() -> None:
    item, model = build_item(), ScriptedModel([YES], replace(SCRIPTED_CARD, min_view_px=200_000))
    prepared = FULL.prepare_item(item, build_test_setup(item.case, model), RNG)
    assert prepared is not None
    outcome = collect_episode(item.case, model, prepared.setup, session="s")
    assert sum_pixels(outcome) == pytest.approx(400 * 300, rel=0.1)


@pytest.mark.parametrize("arm", [FULL, build_overview(40_000)])
def test_a_model_with_one_size_of_view_is_refused_a_larger_one(arm: object) -> None:
    item, model = build_item(), ScriptedModel([YES], BASELINE_CARD)
    with pytest.raises(WrongInput, match=r"sees every picture at 9216 pixels.*choose tiles-CxR"):
        arm.prepare_item(item, build_test_setup(item.case, model), RNG)  # type: ignore[attr-defined]


def test_what_is_equal_is_told_by_the_run_with_tools() -> None:
    nano = BASELINE_CARD
    assert choose_equal([9216 * 5, 9216 * 5], nano).name == "tiles-2x2"
    assert choose_equal([9216 * 2, 9216 * 4], nano).name == "tiles-1x2"
    assert choose_equal([9216], nano).name == "tiles-1x1"
    assert choose_equal([30_000, 50_000], SCRIPTED_CARD).name == "overview-40000"
    with pytest.raises(ValueError, match="at least one"):
        choose_equal([], nano)


@pytest.mark.parametrize("name", ["overview-40000", "tiles-3x2", "full"])
def test_arms_of_any_size_go_by_their_names(name: str) -> None:
    arm = parse_equal(name)
    assert arm is not None
    assert arm.name == name


@pytest.mark.parametrize("name", ["overview", "overview-0", "tiles-2", "tiles-0x2", "fuller", "oracle"])
def test_other_names_are_no_such_arm(name: str) -> None:
    assert parse_equal(name) is None


# --- those that are fitted and kept


@pytest.mark.parametrize(
    ("question", "target"),
    [
        ("Is there a lesion in the left kidney?", "kidney left"),
        ("Describe the pattern of the lesion in the spleen.", "spleen"),
        ("What pattern does the lesion show?", "polyp"),
        ("How many lesions are there?", "polyp"),
    ],
)
def test_the_target_is_the_one_that_the_question_names(question: str, target: str) -> None:
    assert find_target(question, "polyp") == target


def ask_saved(folder: Path, study: Study) -> str:
    case = Case((study,), "What colour is it?", ("red", "blue"))
    model = load_baseline(f"baseline:{folder}")
    outcome = collect_episode(case, model, build_setup(case, model, None, SetupOptions(tools="none")), session="s")
    assert outcome.answer is not None
    return outcome.answer.text


def build_flat_study(level: int) -> Study:
    study = build_colour_study()
    return replace(study, source=type(study.source)(np.full((300, 400, 3), level, np.uint8)))  # type: ignore[call-arg]


def build_samples() -> list[Sample]:
    samples = []
    for level, answer in ((30, "blue"), (220, "red")) * 40:
        crop = np.full((96, 96, 3), level, np.uint8)
        samples.append(Sample(Example("What colour is it?", ("red", "blue"), answer), crop))
    return samples


def test_what_was_fitted_answers_alike_after_it_was_kept(tmp_path: Path) -> None:
    about = {"benchmark": "phantom-image", "first_seed": FIRST_SEED, "n": 6}
    for kind, fitted in ((Kind.MAJORITY, fit_majority(COLOURS)), (Kind.QUESTION_ONLY, fit_question_only(COLOURS))):
        save_baseline(tmp_path / kind, fitted, **about)  # type: ignore[arg-type]
        assert ask_saved(tmp_path / kind, build_flat_study(30)) == "blue"
        assert load_baseline(f"baseline:{tmp_path / kind}").card.name == f"baseline:{kind.value}"


@pytest.mark.xfail(reason="the crop classifier learns too little from flat crops; under work", strict=False)
def test_the_classifier_reads_the_picture(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    reader = fit_crop(build_samples(), lesion="polyp", epochs=12)
    save_baseline(tmp_path / "c", reader, benchmark="b", first_seed=0, n=80)
    assert ask_saved(tmp_path / "c", build_flat_study(30)) == "blue"
    assert ask_saved(tmp_path / "c", build_flat_study(220)) == "red"


def test_the_classifier_searches_then_magnifies_what_was_found() -> None:
    case = Case((build_colour_study(),), "Is there a square?")
    model = CropClassifier(None, lesion="square")
    outcome = collect_episode(case, model, build_test_setup(case, model), session="s")
    calls = [parse_reply(reply.text) for reply in outcome.replies[:2]]
    assert [call.name for call in calls] == ["segment_text", "zoom_in"]  # type: ignore[union-attr]
    x0, y0, x1, y1 = outcome.views[-1].picture.frame.root_box_xyxy
    assert x0 <= 200
    assert y0 <= 100
    assert x1 >= 300
    assert y1 >= 180
    assert (x1 - x0) * (y1 - y0) < 400 * 300 / 3


def test_a_folder_that_holds_no_whole_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"holds no baseline\.json"):
        load_baseline(f"baseline:{tmp_path}")
    save_baseline(tmp_path / "q", fit_question_only(COLOURS), benchmark="b", first_seed=0, n=6)
    (tmp_path / "q" / "weights.npz").write_bytes(b"other")
    with pytest.raises(WrongInput, match="fit it again"):
        load_baseline(f"baseline:{tmp_path / 'q'}")
    (tmp_path / "q" / "baseline.json").write_text('{"kind": "oracle"}')
    with pytest.raises(WrongInput, match="is no baseline"):
        load_baseline(f"baseline:{tmp_path / 'q'}")


@pytest.mark.parametrize("name", ["vqa-rad", "phantom-image:L9", "phantom-video-ood:L1"])
def test_only_what_is_drawn_can_be_learned_from(name: str) -> None:
    with pytest.raises(WrongInput, match="accepted are"):
        list_training(name, range(FIRST_SEED, FIRST_SEED + 2))
