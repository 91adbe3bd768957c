"""The parts of nano's recipe that decide what is learned: recovery, number rows, and a resumed run."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ophiscope.agent.outcome import Outcome  # noqa: E402
from ophiscope.core.action import Call  # noqa: E402
from ophiscope.core.message import Role  # noqa: E402
from ophiscope.core.trace import StopReason  # noqa: E402
from ophiscope.models.local.load import NANO_DIR  # noqa: E402
from ophiscope.models.local.nano import build_nano_config, build_nano_model  # noqa: E402
from ophiscope.models.local.tokens import load_codec  # noqa: E402
from ophiscope.protocol.grammar import parse_reply  # noqa: E402
from ophiscope.recipes.nano.numbers import init_number_rows  # noqa: E402
from ophiscope.recipes.nano.recovery import HandShakes, Slips  # noqa: E402
from ophiscope.recipes.nano.stream import encode_task, find_box_ids, find_decisive_ids  # noqa: E402
from ophiscope.recipes.nano.tasks import draw_phantom_task, write_trajectory  # noqa: E402
from ophiscope.recipes.nano.vocabulary import DECISIVE, GREATEST_NUMBER  # noqa: E402
from ophiscope.tools.segmenters.build import build_segmenter  # noqa: E402
from ophiscope.train.examples import _replace_turns  # noqa: E402

ALWAYS_BROKEN = HandShakes(broken=1.0, off=0.0, astray=0.0)
ALWAYS_ASTRAY = HandShakes(broken=0.0, off=0.0, astray=1.0)


def say(outcome: Outcome) -> list[str]:
    return [message.text for message in outcome.messages if message.role is Role.ASSISTANT]


@pytest.mark.parametrize("seed", range(4))
def test_a_broken_call_is_refused_and_then_made_right(seed: int) -> None:
    task = draw_phantom_task(seed, "L1")
    plain = write_trajectory(task, None)
    hand = Slips(task.oracle, np.random.default_rng(seed), ALWAYS_BROKEN)
    outcome = write_trajectory(task._replace(oracle=hand), None)
    assert outcome.stop is StopReason.ANSWERED
    tool_turns = [message.text for message in outcome.messages if message.role is Role.TOOL]
    assert '"error": "bad_box"' in tool_turns[0]
    assert say(outcome)[1:] == say(plain)
    assert hand.meant == [say(plain)[0], *say(plain)]


@pytest.mark.parametrize("kind", ["L1", "L2", "L3", "W"])
def test_a_zoom_that_went_astray_is_made_again(kind: str) -> None:
    """The oracle sees that its mark is not in view, says so, and comes to the right answer all the same."""
    again = 0
    for seed in range(6):
        task = draw_phantom_task(seed, kind)
        hand = Slips(task.oracle, np.random.default_rng([seed, 1]), ALWAYS_ASTRAY)
        outcome = write_trajectory(task._replace(oracle=hand), None)
        assert outcome.stop is StopReason.ANSWERED
        assert task.key.text.lower() in say(outcome)[-1].lower()
        again += sum("not all in view" in text for text in say(outcome))
    assert again >= 6


def test_a_question_that_needs_no_call_is_never_slipped_over() -> None:
    task = next(
        task for seed in range(50) if (task := draw_phantom_task(seed, "plain")).key.group in ("modality", "unknowable")
    )
    hand = Slips(task.oracle, np.random.default_rng(0), ALWAYS_BROKEN)
    outcome = write_trajectory(task._replace(oracle=hand), None)
    assert say(outcome) == hand.meant
    assert len(say(outcome)) == 1


@pytest.mark.skipif(not (NANO_DIR / "tokenizer.json").exists(), reason="the embedded model's tokenizer is not here")
def test_what_is_taught_is_what_was_meant_and_differs_in_numbers_of_boxes_alone() -> None:
    codec = load_codec(NANO_DIR)
    boxes = find_box_ids(codec)
    slipped = 0
    for seed in range(12):
        example = encode_task(draw_phantom_task(seed, "L1"), codec, boxes, build_segmenter("classical"), slips=seed)
        assert example is not None
        other = example.meant_T != example.token_ids_T
        assert example.coordinate_T[other].all()
        assert example.loss_T[other].all()
        slipped += bool(other.any())
    assert 1 <= slipped < 12


def test_the_oracle_never_points_beyond_a_view() -> None:
    """The last spot of the first lies at the edge: with the room that a zoom leaves around it, it would end at 1007."""
    for seed in (4_015_060, 14, 15):
        for text in say(write_trajectory(draw_phantom_task(seed, "L3"), None)):
            action = parse_reply(text)
            if isinstance(action, Call):
                assert all(0 <= number <= 1000 for number in action.arguments["box"])


def test_turns_that_were_not_meant_so_are_refused() -> None:
    messages = write_trajectory(draw_phantom_task(0, "L1"), None).messages
    with pytest.raises(ValueError, match="1 texts for the 2 turns"):
        _replace_turns(messages, ["one"])


def test_candidates_are_named_by_their_middles_and_those_are_coordinates() -> None:
    codec = load_codec(NANO_DIR)
    checked = 0
    for seed in range(6):
        task = draw_phantom_task(seed, "L3")
        outcome = write_trajectory(task, None)
        named = [list(map(int, pair)) for pair in re.findall(r"\[(\d+), (\d+)\]", say(outcome)[0].split("Checked")[0])]
        w, h = task.case.studies[0].header.size_wh
        boxes = [box.root_xyxy for box in task.key.evidence_boxes]
        middles = [[500 * (x0 + x1) / w, 500 * (y0 + y1) / h] for x0, y0, x1, y1 in boxes]
        assert named == sorted(named)
        assert all(np.abs(np.asarray(named) - middle).max(axis=1).min() <= 2 for middle in middles), seed
        example = encode_task(task, codec, find_box_ids(codec), build_segmenter("classical"))
        assert example is not None
        told = [int(number) for number in example.token_ids_T[example.coordinate_T] if number <= GREATEST_NUMBER]
        assert told[: 2 * len(named)] == [number for pair in named for number in pair]
        checked += len(named)
    assert checked >= 12


def test_what_decides_is_one_token_of_the_tokenizer_that_is_shipped() -> None:
    codec = load_codec(NANO_DIR)
    words = {codec.tokenizer.id_to_token(index) for index in find_decisive_ids(codec)}
    assert {"Ġfits", "Ġno", "Ġdotted", "Ġspiculated", "3", "yes", "dotted"} <= words
    assert all(word.removeprefix("Ġ") in DECISIVE for word in words)


def test_number_rows_begin_smooth_and_no_larger_than_the_others() -> None:
    model = build_nano_model(build_nano_config(1300, image_token_id=1299), seed=1)
    init_number_rows(model, 0, seed=1)
    rows = model.model.language_model.embed_tokens.weight.detach()[:1001]
    near, far = (rows[410] - rows[412]).norm(), (rows[410] - rows[7]).norm()
    assert near < 0.5 * far
    others = model.model.language_model.embed_tokens.weight.detach()[1001:].norm(dim=1).mean()
    assert float(rows.norm(dim=1).mean() / others) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.skipif(not (NANO_DIR / "tokenizer.json").exists(), reason="the embedded model's tokenizer is not here")
def test_a_training_resumes_where_it_was_and_its_checkpoint_is_served(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((NANO_DIR / "tokenizer.json").read_bytes())
    command = [
        sys.executable,
        "-m",
        "ophiscope.recipes.nano.train",
        "--out",
        str(tmp_path),
        "--batch",
        "2",
        "--dense",
        "2",
    ]
    states = []
    for steps in ("1", "2"):
        subprocess.run([*command, "--steps", steps], check=True, capture_output=True, timeout=110)
        states.append(torch.load(tmp_path / "state.pt", weights_only=True))
        assert states[-1]["step"] == int(steps)
    # the read-out heads of the dense views go on as well: one step of AdamW moves a weight by its rate at most
    moved = (states[1]["heads"]["spot.weight"] - states[0]["heads"]["spot.weight"]).abs().max()
    assert 0 < float(moved) < 2e-3
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "state.pt",
        "tokenizer.json",
    }
