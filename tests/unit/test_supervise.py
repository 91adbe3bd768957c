"""Supervised stages: the loss covers what the assistant wrote, adapters change nothing else, a run comes again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from ophiscope.agent.ask import AskSettings, ask
from ophiscope.apps.cli import run
from ophiscope.core.message import Message, Role, TextPart
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.models.local.engine import LocalModel
from ophiscope.models.local.forward import compute_logits
from ophiscope.models.local.load import load_local
from ophiscope.models.local.tiny import shrink_views, write_tiny_checkpoint
from ophiscope.recipes.lessons import REFLECTING, teach_by_oracles, teach_by_traces, teach_reflection
from ophiscope.recipes.nano.recovery import HandShakes
from ophiscope.train.examples import build_batch
from ophiscope.train.grpo import build_encoder
from ophiscope.train.run_config import LoraOptions, RunConfig, SftConfig
from ophiscope.train.supervise import Lesson, Lessons, Teacher
from ophiscope.train.weights import Weights

L1 = ("phantom-image/L1",)


@pytest.fixture
def nano() -> LocalModel:
    return load_local("nano")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "qwen2_5_vl")


def config(**sft: int | float) -> RunConfig:
    return RunConfig(start="nano", steps=4, sft=SftConfig(batch=3, pool=2, micro=2, **sft))  # type: ignore[arg-type]


def teach_talk(number: int) -> Lesson:
    """Talk whose length grows with its number."""
    said = [Message(Role.SYSTEM, (TextPart("Look."),)), Message(Role.USER, (TextPart("view " * (3 + 5 * number)),))]
    return Lesson([*said, Message(Role.ASSISTANT, (TextPart("<answer>yes</answer>"),))])


def test_the_loss_is_that_of_the_written_tokens(nano: LocalModel) -> None:
    lessons = Lessons(teach_by_oracles(L1, None, first_seed=5), nano, batch=3, pool=1, seed=0)
    report = Teacher(nano, lessons, lambda rate: None, config()).step(0)
    total, count = 0.0, 0
    for one in lessons.draw(0):
        batch = build_batch([one], nano.parts.layout, pad_id=nano.parts.codec.end_id)
        with torch.no_grad():
            logits = compute_logits(nano.parts.model, batch.tokens)[0, :-1]
        ids = torch.from_numpy(one.token_ids_T[1:])
        written = torch.from_numpy(one.loss_T[1:])
        total += float(functional.cross_entropy(logits, ids, reduction="none")[written].sum())
        count += int(written.sum())
    assert (report.tokens, report.skipped) == (count, 0)
    assert report.loss == pytest.approx(total / count, abs=1e-5)


def test_the_loss_covers_the_turns_of_the_assistant_alone(nano: LocalModel) -> None:
    lesson = teach_by_oracles(L1, None, first_seed=5)(0)
    assert lesson is not None
    example = build_encoder(nano)(lesson.messages)
    codec = nano.parts.codec
    written = [message.text for message in lesson.messages if message.role is Role.ASSISTANT]
    assert len(written) > 1
    shown = codec.tokenizer.decode(example.token_ids_T[example.loss_T].tolist(), skip_special_tokens=False)
    assert shown.replace("<|im_end|>", "") == "".join(written)
    only = Lessons(lambda number: replace_unlearned(lesson, {0}), nano, batch=1, pool=1, seed=0).draw(0)[0]
    kept = codec.tokenizer.decode(only.token_ids_T[only.loss_T].tolist(), skip_special_tokens=False)
    assert kept.replace("<|im_end|>", "") == "".join(written[1:])


def replace_unlearned(lesson: Lesson, turns: set[int]) -> Lesson:
    return lesson._replace(unlearned=frozenset(turns))


def test_batches_are_of_one_length_and_hold_every_lesson_once(nano: LocalModel) -> None:
    lessons = Lessons(teach_talk, nano, batch=2, pool=4, seed=3)
    lengths = [[len(one.token_ids_T) for one in lessons.draw(step)] for step in range(4)]
    encode = build_encoder(nano)
    assert sorted(length for some in lengths for length in some) == sorted(
        len(encode(teach_talk(n).messages).token_ids_T) for n in range(8)
    )
    assert max(max(some) - min(some) for some in lengths) == 5
    assert [min(some) for some in lengths] != sorted(min(some) for some in lengths)
    again = Lessons(teach_talk, nano, batch=2, pool=4, seed=3)
    assert [len(one.token_ids_T) for one in again.draw(2)] == lengths[2]


def test_what_cannot_be_learned_is_counted_and_told(nano: LocalModel) -> None:
    def teach(number: int) -> Lesson | None:
        return (None, teach_talk(1), teach_talk(4000))[number % 3]

    lessons = Lessons(teach, nano, batch=3, pool=2, seed=0)
    assert sum(len(lessons.draw(step)) for step in range(2)) == 2
    assert lessons.skipped == 4
    with pytest.raises(CheckFailed, match="Of 6 conversations 0 can be learned from"):
        Lessons(lambda number: None, nano, batch=3, pool=2, seed=0).draw(0)


def test_adapters_learn_alone_rest_and_merge(tiny: Path) -> None:
    model = shrink_views(load_local(f"hf:{tiny}"))
    network = model.parts.model
    lessons = Lessons(teach_by_oracles(L1, model.card, first_seed=5), model, batch=2, pool=1, seed=0)
    example = lessons.draw(0)[0]
    batch = build_batch([example], model.parts.layout, pad_id=model.parts.codec.end_id)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return compute_logits(network, batch.tokens, keep_B_T=batch.keep_B_T)

    begun, before = logits(), {name: value.clone() for name, value in network.state_dict().items()}
    weights = Weights(network, LoraOptions(rank=4, alpha=8))
    torch.testing.assert_close(logits(), begun)  # an adapter adds nothing at first
    optimizer = torch.optim.SGD(weights.learned, lr=1.0)

    def optimize(rate: float) -> None:
        optimizer.step()
        optimizer.zero_grad()

    teacher = Teacher(model, lessons, optimize, config())
    for number in range(3):
        teacher.step(number)
    learned = logits()
    assert float((learned - begun).abs().max()) > 1e-3
    with weights.as_begun():
        torch.testing.assert_close(logits(), begun)
    torch.testing.assert_close(logits(), learned)
    state = weights.read()
    assert all("lora_" in name for name in state)
    weights.merge()
    torch.testing.assert_close(logits(), learned, atol=1e-5, rtol=1e-4)
    after = network.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.endswith("_proj.weight") and "language_model" in name for name in changed)


def test_adapters_of_layers_that_are_not_there_are_refused(tiny: Path) -> None:
    with pytest.raises(WrongInput, match=r"lora.targets = \['nothing'\]"):
        Weights(load_local(f"hf:{tiny}").parts.model, LoraOptions(targets=("nothing",)))


@pytest.mark.parametrize("lora", [(), ("lora.rank=4",)])
def test_a_stage_that_was_stopped_ends_in_the_same_weights(tmp_path: Path, lora: tuple[str, ...]) -> None:
    changes = ("stage=cold_start", "sft.batch=2", "sft.pool=2", "save_every=1", "worlds.kinds=['L1']", *lora)

    def train(out: str, steps: int) -> dict[str, torch.Tensor]:
        assert run(["train", "nano_image", *changes, f"steps={steps}", "--out", str(tmp_path / out)]) == 0
        state: dict[str, torch.Tensor] = torch.load(tmp_path / out / "state.pt", weights_only=True)["model"]
        return state

    whole = train("whole", 3)
    # the learning rate falls by the number of steps, so a shorter run is another one: stop one that is meant to be 3
    folder = tmp_path / "parts"
    train("parts", 3)
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    (folder / "state.pt").unlink()
    (folder / "metrics.jsonl").write_text("\n".join(lines[:2]) + "\n", "utf-8")
    parts = train("parts", 3)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert load_local(f"hf:{folder / 'checkpoint'}").card.family == "nano"


def test_reflection_shows_what_slipped_and_learns_the_rest() -> None:
    always = HandShakes(broken=0.0, off=0.0, astray=1.0, most=1)
    teach = teach_reflection(L1, None, first_seed=100, shakes=always)
    lessons = [lesson for number in range(12) if (lesson := teach(number)) is not None]
    assert len(lessons) >= 8
    for lesson in lessons:
        assert lesson.unlearned
        turns = [message for message in lesson.messages if message.role is Role.ASSISTANT]
        assert len(turns) > max(lesson.unlearned) + 1  # something follows what slipped
        assert "<answer>" in turns[-1].text
    plain = [teach_by_oracles(L1, None, first_seed=100)(number) for number in range(12)]
    usual = np.mean([len(lesson.messages) for lesson in plain if lesson is not None])
    assert np.mean([len(lesson.messages) for lesson in lessons]) > usual
    kept = [teach_reflection(L1, None, first_seed=100, shakes=REFLECTING)(number) for number in range(30)]
    assert any(lesson is not None and not lesson.unlearned for lesson in kept)


def test_traces_teach_what_they_recorded(tmp_path: Path, nano: LocalModel) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(picture)
    for index in range(2):
        ask(picture, "What is shown?", model="nano", out=tmp_path / f"trace{index}", settings=AskSettings(seed=index))
    (tmp_path / "trace-of-nothing").mkdir()
    teach = teach_by_traces([str(tmp_path / "trace*")], coords="relative_1000", seed=0)
    lessons = [teach(number) for number in range(4)]
    for lesson in lessons:
        assert lesson is not None
        assert all(message.token_ids is None for message in lesson.messages)
        assert lesson.messages[1].views
        assert build_encoder(nano)(lesson.messages).loss_T.any()
    with pytest.raises(WrongInput, match="of 3 folders none is the trace of an answered question"):
        teach_by_traces([str(tmp_path / "trace*")], coords="absolute_px", seed=0)


@pytest.mark.parametrize(
    ("recipe", "stage"),
    [
        ("nano_image", "reflect"),
        ("nano_video", "warm_up"),
        ("nano_video", "cold_start"),
        ("ophiuchus_7b", "cold_start"),
        ("ophiuchus_7b", "reflect"),
        ("ophiuchus_7b", "reinforce"),
        ("medscope_7b", "warm_up"),
        ("medscope_7b", "reinforce"),
    ],
)
def test_every_stage_can_be_tried_out(recipe: str, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", recipe, f"stage={stage}", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["recipe"], said["stage"], said["dry_run"]) == (recipe, stage, True)
    if recipe.endswith("7b"):
        assert 8e9 < said["on_the_hardware"]["parameters"] < 9e9
        assert 1e8 < said["on_the_hardware"]["learned"] < 2e8
    if stage == "reinforce":
        assert said["ratio_off"] < 1e-4


def test_a_stage_that_a_recipe_has_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "nano_video", "stage=reflect"]) == 2
    assert "accepted are warm_up, cold_start, reinforce" in capsys.readouterr().err
    assert run(["train", "ophiuchus_7b"]) == 2
    assert "device = cuda: there is none here" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_run(nano: LocalModel) -> None:
    network = nano.parts.model
    with torch.no_grad():
        network.model.language_model.norm.weight.fill_(float("nan"))
    teacher = Teacher(nano, Lessons(teach_talk, nano, batch=1, pool=1, seed=0), lambda rate: None, config())
    with pytest.raises(ValueError, match="not finite"):
        teacher.step(0)
