"""The measurement of nano: truth that a key lacks, twins that differ in one thing, arms, certificate and tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ophiscope.agent.collect import collect_episode
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.eval.guessing import build_guesser, spell_guess
from ophiscope.eval.phantoms import compute_blob_mask, draw_phantom, judge_answer
from ophiscope.recipes.nano.arms import ARMS, TOKEN_PX, write_arm_trajectory
from ophiscope.recipes.nano.certificate import certify
from ophiscope.recipes.nano.certificate_nets import Batch, CloseNet, OverviewNet
from ophiscope.recipes.nano.certificate_samples import ANSWERS, compute_words, draw_samples
from ophiscope.recipes.nano.evaluate import EvalReport, list_sources, run_sets
from ophiscope.recipes.nano.interventions import FIRST_SEED, Bench, InterventionReport, build_twin, measure_kind
from ophiscope.recipes.nano.items import FIRST_TEST_SEED
from ophiscope.recipes.nano.report import insert_tables, render_certificates, render_tables
from ophiscope.recipes.nano.tasks import CARD, build_setup, draw_phantom_task, write_trajectory
from ophiscope.tools.segmenters.classical import Classical
from ophiscope.worlds.asks import AskKind
from ophiscope.worlds.render import PhantomSource


class Oracles:
    """Answers every session by looking; sessions are named by kind and seed, or by seed alone."""

    def __init__(self, kind: str = "") -> None:
        self._kind = kind

    @property
    def card(self) -> ModelCard:
        return CARD

    def sample(self, requests: list[Request]) -> list[Reply]:
        return [self._say(request) for request in requests]

    def close(self, session: str) -> None:
        pass

    def _say(self, request: Request) -> Reply:
        kind, _, seed = request.session.rpartition("-")
        oracle = draw_phantom(int(seed), kind or self._kind, whole=False).build_oracle(CARD)
        return oracle.sample([request])[0]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def find_phantom(kind: str, wanted: AskKind):
    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + 200)
    drawn = (draw_phantom(seed, kind, whole=False) for seed in seeds)
    return next(phantom for phantom in drawn if phantom.ask.kind is wanted)


def test_test_questions_are_those_of_training_with_more_truth() -> None:
    for kind in ("plain", "L1", "L2", "L3", "W"):
        phantom, task = (
            draw_phantom(FIRST_TEST_SEED + 3, kind, whole=False),
            draw_phantom_task(FIRST_TEST_SEED + 3, kind),
        )
        assert (phantom.case.question, phantom.key.kind) == (task.case.question, task.key.kind)


def test_the_mask_of_a_key_is_where_the_lesion_is_drawn() -> None:
    phantom = find_phantom("plain", AskKind.OUTLINE)
    mask, frame = phantom.key.mask, phantom.case.studies[0].frame
    assert mask is not None
    bare = replace(phantom.world, lesions=())
    box = tuple(float(value) for value in mask.frame.root_box_xyxy)
    drawn, empty = (PhantomSource(world).read(box, mask.frame.size_wh).astype(float) for world in (phantom.world, bare))  # type: ignore[arg-type]
    changed = np.abs(drawn - empty)
    changed = changed.max(axis=2) if changed.ndim == 3 else changed
    changed = changed > 0.2 * changed.max()
    assert (changed & mask.bits_H_W).sum() / (changed | mask.bits_H_W).sum() > 0.75
    round_blob = replace(phantom.world.lesions[0].blob, wobble=(), radii_xy=(30.0, 20.0))
    assert compute_blob_mask(round_blob, frame).area_root_px == pytest.approx(np.pi * 600, rel=0.02)


def test_a_share_is_judged_by_its_relative_error() -> None:
    phantom = find_phantom("plain", AskKind.SHARE)
    share = float(phantom.key.text.split()[0])
    setup = build_setup(phantom.case, Classical())
    for told, right in ((share * 1.2, True), (share * 0.5, False)):
        model = Direct(f"<answer>{told:.4g} of the image</answer>")
        outcome = collect_episode(phantom.case, model, setup, session="s")
        assert judge_answer(outcome, phantom.key).correct is right


class Direct:
    """Says one thing."""

    card = CARD

    def __init__(self, text: str) -> None:
        self._text = text

    def sample(self, requests: list[Request]) -> list[Reply]:
        return [Reply(self._text, FinishReason.STOP) for _ in requests]

    def close(self, session: str) -> None:
        pass


@pytest.mark.parametrize("kind", ["L1", "W"])
def test_a_twin_differs_in_the_asked_detail_alone(kind: str) -> None:
    for seed in range(FIRST_TEST_SEED, FIRST_TEST_SEED + 6):
        phantom = draw_phantom(seed, kind, whole=False)
        twin = build_twin(phantom, np.random.default_rng(seed), whole=False)
        if twin is None:
            continue
        study = phantom.case.studies[0]
        assert twin.answer != phantom.key.text
        assert twin.answer in ANSWERS
        assert twin.study.header == study.header
        x0, y0, x1, y1 = phantom.key.evidence_boxes[0].root_xyxy
        w, h = study.header.size_wh
        far = (w * 0.75, h * 0.75, float(w), float(h)) if x1 < w * 0.7 else (0.0, 0.0, w * 0.25, h * 0.25)
        if not (x0 < far[2] and x1 > far[0] and y0 < far[3] and y1 > far[1]):
            assert np.array_equal(study.source.read(far, (64, 64)), twin.study.source.read(far, (64, 64)))
        near = (max(x0, 0.0), max(y0, 0.0), min(x1, float(w)), min(y1, float(h)))
        assert not np.array_equal(study.source.read(near, (64, 64)), twin.study.source.read(near, (64, 64)))


def test_arms_learn_the_same_questions_in_their_own_way() -> None:
    task = draw_phantom_task(5, "L1")
    tools, none, wide = (write_arm_trajectory(task, ARMS[name], None) for name in ("tools", "none", "wide"))
    assert [message.text for message in tools.messages] == [
        message.text for message in write_trajectory(task, None).messages
    ]
    assert none.attempted_calls == wide.attempted_calls == 0
    assert none.answer is not None
    assert none.answer.text == task.key.text
    assert none.messages[1].text == tools.messages[1].text
    tokens = [sum(np.prod(view.picture.frame.size_wh) for view in run.views) / TOKEN_PX for run in (none, wide)]
    assert tokens[0] <= 36
    assert 90 <= tokens[1] <= 100


def test_the_best_constant_answer_knows_the_words_only() -> None:
    pairs = [("view 1: S1\nQuestion: What of the left lesion?\nOptions: A. x | B. y", "x")] * 3
    pairs += [("view 1: S1 CT\nQuestion: What of the right lesion?\nOptions: A. y | B. x", "y")] * 2
    guess = build_guesser([*pairs, ("Question: Else?", "z")])
    assert spell_guess(pairs[0][0]) == spell_guess(pairs[4][0])
    assert guess(pairs[4][0]) == "x"
    assert guess("Question: Else?") == "z"


def test_reports_come_from_files_alone(tmp_path: Path) -> None:
    sources = list_sources(("W",), 3, whole=False)
    summaries = run_sets(sources, Oracles(), ARMS["tools"], Classical(), records=tmp_path / "t.json")  # type: ignore[arg-type]
    report = EvalReport(
        arm="tools", weights_sha256=None, segmenter_sha256=None, first_seed=0, whole=False, sets=summaries
    )
    report = EvalReport.model_validate_json(report.model_dump_json())
    bench = Bench(Oracles("W"), lambda case: build_setup(case, Classical()), whole=False)  # type: ignore[arg-type]
    kinds = {"W": measure_kind("W", range(FIRST_SEED, FIRST_SEED + 2), bench)}
    changed = InterventionReport(weights_sha256=None, first_seed=0, whole=False, kinds=kinds)
    table = render_tables([report], changed)
    assert "| W | 100.0 % (43.9–100.0, n = 3) |" in table
    assert "100.0 % (34.2–100.0, n = 2)" in table
    # the oracle looks through the pixels, so that changed pixels change nothing: no answer follows, none flips
    assert "| evidence of another truth | answer follows it | 0.0 %" in table
    assert kinds["W"].random_places is None
    arms = report.model_copy(update={"sets": {}})
    table = render_tables([arms], changed, shipped=report)
    assert "| set | shipped | all tools | oracle calls |" in table
    assert "| W | 100.0 % (43.9–100.0, n = 3) | – |" in table


def test_tables_go_between_their_marks() -> None:
    page = "a\n<!-- tables -->\nold\n<!-- end of tables -->\nb\n"
    assert insert_tables(page, "new\n") == "a\n<!-- tables -->\n\nnew\n\n<!-- end of tables -->\nb\n"
    with pytest.raises(ValueError, match="end of tables"):
        insert_tables("a\n<!-- tables -->\n", "new")


def test_a_certificate_can_be_resumed(tmp_path: Path) -> None:
    first = certify(tmp_path, "W", 60, epochs=1)
    drawn = draw_samples(tmp_path, "W", 60)
    assert drawn.pictures_N_H_W.any(axis=(1, 2)).all()
    assert set(np.asarray(drawn.answers_N).tolist()) <= set(range(len(ANSWERS)))
    assert certify(tmp_path, "W", 60, epochs=1) == first
    assert first.tested_on == 6
    assert "| W | 1 | 54 | 6 |" in render_certificates([first])


@pytest.mark.parametrize("kind", [OverviewNet, CloseNet])
def test_the_networks_read_all_that_they_are_given(kind: type) -> None:
    torch.manual_seed(0)
    net = kind(2).eval()
    words = torch.from_numpy(np.stack([compute_words(draw_phantom(seed, "W", whole=False).ask) for seed in (1, 2)]))
    pictures = torch.randint(0, 256, (2, 96, 112), dtype=torch.uint8)
    places = torch.tensor([[[20.0, 30.0], [-1.0, -1.0]], [[111.0, 95.0], [50.2, 40.7]]])
    batch = Batch(pictures, words, torch.tensor([0, 1]), places, torch.zeros(2, dtype=torch.int64))
    logits = net(batch)
    assert logits.shape == (2, len(ANSWERS))
    changed = [
        batch._replace(pictures_B_H_W=torch.randint(0, 256, (2, 96, 112), dtype=torch.uint8)),
        batch._replace(words_B_F=1 - words),
        batch._replace(shown_B=1 - batch.shown_B),
    ]
    if kind is CloseNet:
        changed.append(batch._replace(places_B_K_2=places.flip(0)))
        far = pictures.clone()
        far[0, 60:, :] = 0  # beyond what is cut out around the only place of the first
        assert torch.equal(net(batch._replace(pictures_B_H_W=far))[0], logits[0])
    for other in changed:
        assert not torch.equal(net(other), logits)


def test_places_are_where_the_overview_shows_something(tmp_path: Path) -> None:
    drawn = draw_samples(tmp_path, "L1", 40)
    contrast: dict[int, list[float]] = {0: [], 12: []}
    for picture, places in zip(drawn.pictures_N_H_W, drawn.places_N_K_2, strict=True):
        assert (places[0] >= 0).all()
        padded = np.pad(picture.astype(float), 30, mode="reflect")
        for shift, found in contrast.items():
            x, y = (int(v) + 30 + shift for v in places[0])
            around = np.concatenate([padded[y - 7, x - 7 : x + 8], padded[y + 7, x - 7 : x + 8]])
            found.append(abs(padded[y - 1 : y + 2, x - 1 : x + 2].mean() - around.mean()))
    assert np.median(contrast[0]) > 1.5 * np.median(contrast[12])
