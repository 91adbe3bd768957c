"""The eleven defects found in the released code of Ophiuchus (arXiv:2512.14157), each as a lock on our own behaviour.

Whole episodes run through the real loop, tools, parser and graders; only the model is a script, and the segmenter takes
bright pixels for the target. A test that fails here is a decision to be taken, not a number to be adjusted.
"""

import gc
import itertools
import json
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from ophiscope.agent.assemble import SetupOptions, build_manifest, build_setup
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.core.action import Answer, Call
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.frame import Frame
from ophiscope.core.message import Role
from ophiscope.core.region import Mask
from ophiscope.core.result import Result, ResultKind
from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.trace import StopReason, ViewEvent
from ophiscope.eval.records import read_calls
from ophiscope.ledger.read import Trace
from ophiscope.ledger.sink import MemorySink
from ophiscope.media.root import ArraySource, compute_root_id
from ophiscope.metrics.answers import grade
from ophiscope.metrics.tools import Target, compute_useful_rate, compute_verdicts
from ophiscope.models.scripted import SCRIPTED_CARD, ScriptedModel
from ophiscope.protocol.answer_text import parse_answer
from ophiscope.protocol.coords import PROFILES
from ophiscope.protocol.grammar import parse_reply, render_answer, render_call
from ophiscope.tools.build import TOOLS
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight

SIZE = (900, 500)
DISC = (690.0, 160.0, 24.0)
"""Centre and radius of the lesion, root pixels."""


@dataclass(frozen=True)
class Bright:
    """Takes bright pixels for the target; absent where nothing is bright."""

    name: str = "bright"
    weights_sha256: str | None = "ab" * 32
    targets: tuple[str, ...] | None = ("polyp", "liver")
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        probability = picture_H_W_3[:, :, 2].astype(np.float32) / 255.0
        present = float(probability.max() > 0.5 and target != "liver")
        return Prediction(probability, 0.8, present)


class Outage(Bright):
    """A segmenter whose server is down and says too much."""

    def predict(self, picture_H_W_3: NDArray[np.uint8], **prompt: object) -> NoReturn:
        raise ConnectionError("POST http://10.1.2.3:8000/segment?path=/data/patients/doe.png failed")


def build_truth(root: str) -> Mask:
    yy, xx = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    x, y, radius = DISC
    return Mask(Frame(root, SIZE), np.hypot(xx - x, yy - y) <= radius)


def build_case(question: str = "Segment the polyp.", options: tuple[str, ...] = ()) -> Case:
    array = np.full((SIZE[1], SIZE[0], 3), (150, 80, 70), dtype=np.uint8)
    array[build_truth("r").bits_H_W] = (230, 220, 200)
    header = StudyHeader(study="S1", kind=StudyKind.IMAGE, root=compute_root_id(array), size_wh=SIZE, channels=3)
    return Case((Study(header, ArraySource(array)),), question, options)


def build_key(case: Case) -> AnswerKey:
    return AnswerKey(ResultKind.MASK, "mask", mask=build_truth(case.studies[0].header.root))


def numbers_around(view: tuple[float, float, float, float], margin: float) -> list[float]:
    """A box around the lesion in 0..1000 of a view that covers ``view`` of the root."""
    (x, y, radius), (vx0, vy0, vx1, vy1) = DISC, view
    reach = radius + margin
    across, down = 1000 / (vx1 - vx0), 1000 / (vy1 - vy0)
    return [
        round((x - reach - vx0) * across),
        round((y - reach - vy0) * down),
        round((x + reach - vx0) * across),
        round((y + reach - vy0) * down),
    ]


def tell(name: str, **arguments: object) -> str:
    return render_call(Call(name, arguments, think="Look there."))


WHOLE = (0.0, 0.0, float(SIZE[0]), float(SIZE[1]))


def run(case: Case, replies: Sequence[str], segmenter: Bright | None = None) -> tuple[Outcome, Trace]:
    model = ScriptedModel(list(replies))
    setup = build_setup(case, model, segmenter or Bright(), SetupOptions(tools="all"))
    sink = MemorySink(build_manifest(setup, seed=0), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    outcome = run_episode(Job(case, sink, session="s"), setup, model)
    return outcome, sink.trace


def score(case: Case, outcome: Outcome) -> float:
    """What the episode's answer is worth: the only way from an episode to a number."""
    result = outcome.result
    mask = outcome.masks.get(result.evidence) if result is not None and result.evidence is not None else None
    return grade(result, build_key(case), mask=mask).score or 0.0


def read_observations(outcome: Outcome) -> list[str]:
    return [message.text for message in outcome.messages if message.role is Role.TOOL]


# 1. Ground truth was registered as the first image's mask, so answering without a tool scored IoU 1.


@pytest.mark.parametrize(
    "policy",
    [
        [render_answer("mask [E1]"), render_answer("mask [E1]")],
        [render_answer("the polyp is outlined")],
        [tell("zoom_in", view=1, box=[0, 0, 1000, 1000]), render_answer("mask [E1]"), render_answer("mask [E1]")],
        [tell("zoom_in", view=1, box=[0, 0, 200, 200]), render_answer("cannot tell")],
        [tell("segment_box", view=1, box=[0, 500, 400, 1000]), render_answer("mask [E1]"), render_answer("mask [E1]")],
    ],
    ids=["no tool", "words", "useless zoom", "declined", "wrong box"],
)
def test_defect_01_trivial_policies_score_nothing(policy: list[str]) -> None:
    case = build_case()
    assert score(case, run(case, policy)[0]) == 0.0


def test_defect_01_real_work_scores() -> None:
    case = build_case()
    outcome, _ = run(case, [tell("segment_box", view=1, box=numbers_around(WHOLE, 8)), render_answer("mask [E1]")])
    assert outcome.stop is StopReason.ANSWERED
    assert score(case, outcome) > 0.9


def test_defect_01_an_episode_cannot_reach_the_truth() -> None:
    rooms = (
        "agent.drivers",
        "agent.assemble",
        "tools.build",
        "tools.dispatch",
        "models.scripted",
        "protocol.grammar",
        "ledger.sink",
    )
    code = "import sys\n" + "\n".join(f"import ophiscope.{room}" for room in rooms)
    code += "\nprint('ophiscope.core.answer_key' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def find_reachable(*roots: object) -> set[int]:
    """Ids of all values that can be reached from ``roots``, but through code and classes."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, type | ModuleType | FunctionType | MethodType):
            continue
        seen[id(value)] = value
        waiting.extend(gc.get_referents(value))
    return set(seen)


def test_defect_01_no_way_leads_from_an_episode_to_its_key() -> None:
    case = build_case()
    key = build_key(case)
    outcome, trace = run(case, [tell("segment_box", view=1, box=numbers_around(WHOLE, 8)), render_answer("mask [E1]")])
    assert key.mask is not None
    truth = {id(key), id(key.mask), id(key.mask.bits_H_W)}
    assert truth <= find_reachable({"case": case, "key": key})  # the search itself does find
    assert not truth & find_reachable(case, outcome, trace)


# 2. The answer parser took the article "a" as option A, "kidney cyst" as K, and could not grade yes/no or open answers.


def test_defect_02_words_are_not_option_letters() -> None:
    options = ("a polyp", "kidney cyst", "normal mucosa")
    for said in ("a lesion is seen", "a", "Kidney", "cyst", "kidney", "K", "c", "An answer: B"):
        assert parse_answer(said, options).kind is not ResultKind.OPTION, said
    assert parse_answer("kidney cyst", options).option == "kidney cyst"
    assert parse_answer("B", options).option == "kidney cyst"


def test_defect_02_yes_no_and_open_answers_are_graded() -> None:
    yes = AnswerKey(ResultKind.YES_NO, "yes")
    assert grade(Result(kind=ResultKind.YES_NO, yes=True), yes).score == 1.0
    assert grade(Result(kind=ResultKind.YES_NO, yes=False), yes).score == 0.0
    words = AnswerKey(ResultKind.TEXT, "left upper lobe")
    assert grade(Result(kind=ResultKind.TEXT, text="The left upper lobe."), words).score == 1.0
    assert 0 < (grade(Result(kind=ResultKind.TEXT, text="upper lobe"), words).score or 0) < 1
    assert grade(Result(kind=ResultKind.TEXT, text="normal"), AnswerKey(ResultKind.TEXT, "no")).score == 0.0


# 3. A mask made on a zoomed crop was compared in full-image space, so a perfect box scored 0.


def test_defect_03_a_mask_from_a_zoom_of_a_zoom_scores_as_much_as_one_from_the_overview() -> None:
    case = build_case()
    direct, _ = run(case, [tell("segment_box", view=1, box=numbers_around(WHOLE, 8)), render_answer("mask [E1]")])
    first = [tell("zoom_in", view=1, box=[600, 100, 950, 600])]
    second = [*first, tell("zoom_in", view=2, box=numbers_around(_shown(case, first), 30))]
    box = numbers_around(_shown(case, second), 8)
    zoomed, _ = run(case, [*second, tell("segment_box", view=3, box=box), render_answer("mask [E3]")])
    assert score(case, zoomed) > 0.9
    assert score(case, zoomed) == pytest.approx(score(case, direct), abs=0.03)


def _shown(case: Case, calls: Sequence[str]) -> tuple[float, float, float, float]:
    """What the last view covers of the root after ``calls``, as the trace tells it."""
    _, trace = run(case, [*calls, render_answer("cannot tell")])
    view = [event for event in trace.events if isinstance(event, ViewEvent)][-1]
    (x, y), (w, h), (sx, sy) = view.origin_xy, view.size_wh, view.scale_xy
    return x, y, x + w * sx, y + h * sy


# 4. Tools called on image > 1 ran on the tinted overlay.


def test_defect_04_tools_called_on_an_overlay_see_clean_pixels() -> None:
    case = build_case()
    box = numbers_around(WHOLE, 8)
    outcome, _ = run(
        case,
        [
            tell("segment_box", view=1, box=box),
            tell("segment_box", view=2, box=box),
            tell("zoom_in", view=1, box=box),
            tell("zoom_in", view=2, box=box),
            render_answer("mask [E2]"),
        ],
    )
    overview, overlay, again, clean_zoom, overlay_zoom = (view.picture for view in outcome.views)
    assert overlay.marked
    assert (overlay.pixels_H_W_3 != overview.pixels_H_W_3).any()
    assert np.array_equal(outcome.masks["E1"].bits_H_W, outcome.masks["E2"].bits_H_W)
    assert np.array_equal(overlay.pixels_H_W_3, again.pixels_H_W_3)
    assert not overlay_zoom.marked
    assert np.array_equal(clean_zoom.pixels_H_W_3, overlay_zoom.pixels_H_W_3)


# 5. Malformed calls got no feedback, and outages put raw exception text with internal URLs into the prompt.


def test_defect_05_every_wrong_call_gets_feedback_and_the_episode_goes_on() -> None:
    case = build_case()
    box = numbers_around(WHOLE, 8)
    outcome, _ = run(
        case,
        [
            "<tool_call>{'name': 'zoom_in'}</tool_call>",
            tell("zoom", view=1, box=box),
            tell("segment_box", image=1, bbox_2d=box),
            tell("segment_box", view=4, box=box),
            tell("segment_box", view=1, box=box),
            render_answer("mask [E1]"),
        ],
    )
    told = read_observations(outcome)
    codes = [json.loads(text.splitlines()[0]).get("error") for text in told]
    assert codes == ["malformed", "unknown_tool", "bad_arguments", "unknown_view", None]
    assert (outcome.attempted_calls, outcome.valid_calls) == (4, 1)
    assert score(case, outcome) > 0.9


def test_defect_05_an_outage_tells_nobody_where_the_server_is() -> None:
    case = build_case()
    replies = [tell("segment_box", view=1, box=[100, 100, 900, 900]), render_answer("cannot tell")]
    outcome, trace = run(case, replies, Outage())
    seen = "".join(message.text for message in outcome.messages)
    kept = "".join(event.model_dump_json() for event in trace.events)
    for secret in ("10.1.2.3", "http", "/data", "doe", "Traceback"):
        assert secret not in seen
        assert secret not in kept
    assert trace.events[-1].event == "closed"


# 6. A flat +2 for any call made always-calling dominate.


def test_defect_06_calls_earn_nothing_by_themselves() -> None:
    """A useless call before the right one leaves the score as it is, and shows as useless; reward is built on these."""
    case, place = build_case(), tell("segment_box", view=1, box=numbers_around(WHOLE, 8))
    x, y, radius = DISC
    target = Target(case.studies[0].header.root, (x - radius, y - radius, x + radius, y + radius))
    idle = [tell("zoom_in", view=1, box=[0, 0, 200, 200]), tell("zoom_in", view=1, box=[0, 600, 200, 800])]
    scores, rates = [], []
    for calls in ([], [place], [*idle, place], idle):
        evidence = f"E{len(calls)}"
        outcome, trace = run(case, [*calls, *[render_answer(f"mask [{evidence}]" if place in calls else "mask")] * 3])
        scores.append(score(case, outcome))
        records = read_calls(trace.events, PROFILES[SCRIPTED_CARD.coords])
        rates.append(compute_useful_rate(compute_verdicts(records, ["segment_box"], [target])))
    assert scores[0] == scores[3] == 0.0
    assert scores[1] == scores[2] > 0.9
    assert rates == [None, 1.0, pytest.approx(1 / 3), 0.0]


def test_defect_06_segmentation_is_not_scored_in_steps() -> None:
    """The half of the defect that is not a reward: overlap is continuous."""
    case = build_case()
    truth = build_truth(case.studies[0].header.root)
    scores = []
    for shift in range(0, 12, 2):
        moved = Mask(truth.frame, np.roll(truth.bits_H_W, shift, axis=1))
        scores.append(grade(Result(kind=ResultKind.MASK, evidence="E1"), build_key(case), mask=moved).score or 0.0)
    assert scores[0] == 1.0
    assert all(first > second for first, second in itertools.pairwise(scores))


# 7. Zoom without padding or enlarging (a 10x11 box gave a 10x11 image), with a text that told the model nothing.


def test_defect_07_a_small_box_becomes_a_view_of_useful_size_with_context() -> None:
    case = build_case()
    outcome, trace = run(case, [tell("zoom_in", view=1, box=[500, 500, 511, 522]), render_answer("cannot tell")])
    view = [event for event in trace.events if isinstance(event, ViewEvent)][-1]
    w, h = view.size_wh
    assert w * h >= 0.8 * SCRIPTED_CARD.min_view_px
    assert view.scale_xy[0] < 0.5
    (x, y), (sx, sy) = view.origin_xy, view.scale_xy
    assert x < 450 - 0.9
    assert y < 250 - 0.9
    assert x + w * sx > 459.9 + 0.9
    assert y + h * sy > 261 + 0.9
    assert sx == pytest.approx(sy, rel=0.02)
    told = json.loads(read_observations(outcome)[0])
    assert told["view"] == 2
    assert told["box"] == [500, 500, 511, 522]
    assert told["magnification"] > 2


def test_defect_07_a_segmentation_tells_box_share_score_and_presence() -> None:
    case = build_case()
    outcome, _ = run(case, [tell("segment_text", view=1, target="polyp"), render_answer("mask [E1]")])
    told = json.loads(read_observations(outcome)[0])
    assert told["box"] == pytest.approx(numbers_around(WHOLE, 0), abs=4)
    assert told["area_share"] == pytest.approx(np.pi * 24**2 / (900 * 500), rel=0.1)
    assert (told["score"], told["presence"], told["present"]) == (0.8, 1, True)


# 8. BiomedParse always returned some mask, even for an absent target.


def test_defect_08_an_absent_target_has_no_mask_and_is_said_to_be_absent() -> None:
    case = build_case("Is there a liver?")
    replies = [tell("segment_text", view=1, target="liver"), render_answer("no [E1]")]
    outcome, trace = run(case, replies)
    told = json.loads(read_observations(outcome)[0])
    assert (told["present"], told["presence"], told["box"], told["area_share"]) == (False, 0, None, 0)
    assert "absent" in told["note"]
    assert outcome.masks == {}
    assert (outcome.evidence[0].presence, outcome.evidence[0].mask) == (0.0, None)
    assert sum(isinstance(event, ViewEvent) for event in trace.events) == 1
    assert outcome.result is not None
    assert outcome.result.yes is False


# 9. The prompt hard-coded 512x512 while images differ and the processor resized again.


def test_defect_09_no_size_stands_in_a_prompt() -> None:
    from ophiscope.agent.prompt import read_prompt
    from ophiscope.protocol.coords import PROFILES

    for name in ("nano", "qwen"):
        for profile in PROFILES.values():
            text = read_prompt(name).render([TOOLS.get(tool).build() for tool in TOOLS.names], profile.describe())
            assert not re.search(r"\b\d{2,4} ?[x×] ?\d{2,4}\b", text)
            assert "512" not in text


def test_defect_09_every_view_has_a_size_that_no_processor_changes() -> None:
    case = build_case()
    calls = [tell("zoom_in", view=1, box=box) for box in ([0, 0, 90, 700], [300, 400, 990, 500], [610, 200, 640, 240])]
    outcome, _ = run(case, [*calls, render_answer("cannot tell")])
    assert len(outcome.views) == 4
    for view in outcome.views:
        w, h = view.picture.frame.size_wh
        assert w % SCRIPTED_CARD.patch_px == 0
        assert h % SCRIPTED_CARD.patch_px == 0
        assert w * h <= SCRIPTED_CARD.max_view_px


# 10. Several environments, and hand-started servers on all interfaces that read any local path.


def test_defect_10_an_episode_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> NoReturn:
        raise AssertionError("an episode opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    case = build_case()
    outcome, _ = run(case, [tell("segment_text", view=1, target="polyp"), render_answer("mask [E1]")])
    assert outcome.stop is StopReason.ANSWERED


@pytest.mark.parametrize(
    "value", ["/etc/passwd", "file:///etc/passwd", "../../x.png", "http://127.0.0.1/a.png", "\\\\host\\x"]
)
def test_defect_10_a_tool_never_takes_a_path(value: str) -> None:
    case = build_case()
    box = [100, 100, 900, 900]
    calls = [
        tell("zoom_in", view=value, box=box),
        tell("zoom_in", view=1, box=box, path=value),
        tell("segment_text", view=1, target=value),
        tell("measure", evidence=value),
    ]
    outcome, _ = run(case, [*calls, render_answer("cannot tell")])
    assert (outcome.attempted_calls, outcome.valid_calls) == (4, 0)
    assert outcome.stop is StopReason.ANSWERED


# 11. The SFT format did not parse in the RL environment; stages were not chained; nothing was checkpointed.


def test_defect_11_what_is_written_for_training_is_what_the_loop_reads() -> None:
    calls = [
        Call("zoom_in", {"view": 1, "box": [10, 20, 300, 400]}, think="Something bright lies there."),
        Call("segment_text", {"view": 2, "target": "polyp"}, think=""),
    ]
    for call in calls:
        assert parse_reply(render_call(call)) == call
    assert parse_reply(render_answer("mask [E2]", think="The outline fits.")) == Answer(
        "mask [E2]", "The outline fits."
    )


def test_defect_11_each_stage_takes_up_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vision, trajectories, vision again, an answer: at a rate of next to nothing the weights just go through."""
    torch = pytest.importorskip("torch")
    from ophiscope.models.local.load import NANO_DIR, load_local, load_nano_model
    from ophiscope.recipes.nano import pretrain_vision, train

    def call(stage: ModuleType, folder: str, *arguments: str) -> dict[str, dict[str, object]]:
        (tmp_path / folder).mkdir()
        if stage is train:  # the words are learned from 1,100 trajectories, which is not what this is about
            (tmp_path / folder / "tokenizer.json").write_bytes((NANO_DIR / "tokenizer.json").read_bytes())
        common = ["--out", str(tmp_path / folder), "--steps", "1", "--batch", "2", "--lr", "1e-12"]
        monkeypatch.setattr(sys, "argv", [folder, *common, *arguments])
        stage.main()
        state: dict[str, dict[str, object]] = torch.load(tmp_path / folder / "state.pt", weights_only=True)
        return state

    def state_of(folder: str) -> str:
        return str(tmp_path / folder / "state.pt")

    def check(one: dict[str, object], other: dict[str, object]) -> None:
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], atol=1e-8) for name in one)

    def tower_of(model: dict[str, object]) -> dict[str, object]:
        begin = "model.visual."
        return {name.removeprefix(begin): value for name, value in model.items() if name.startswith(begin)}

    vision = call(pretrain_vision, "vision")
    first = call(train, "first", "--vision", state_of("vision"), "--dense", "0", "--frozen")
    check(tower_of(first["model"]), vision["visual"])
    check(first["heads"], vision["heads"])
    again = call(pretrain_vision, "again", "--start", state_of("first"), "--seed", "5")
    check(again["visual"], vision["visual"])
    start = ["--start", str(tmp_path / "first"), "--dense", "0", "--seed", "1"]
    second = call(train, "second", *start)
    check(second["model"], load_nano_model(tmp_path / "first").state_dict())
    check(second["heads"], vision["heads"])
    other = call(pretrain_vision, "other", "--seed", "6")
    third = call(train, "third", *start, "--vision", state_of("other"))
    check(tower_of(third["model"]), other["visual"])
    check(third["heads"], other["heads"])
    rest = {name: value for name, value in third["model"].items() if not name.startswith("model.visual.")}
    check(rest, {name: second["model"][name] for name in rest})
    served, shipped = load_local(f"hf:{tmp_path / 'second'}", offline=True).card, load_local("nano").card
    assert replace(served, name="nano", weights_sha256=shipped.weights_sha256) == shipped
