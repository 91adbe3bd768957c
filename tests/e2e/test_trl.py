"""TRL's own GRPOTrainer on our environment: a tiny Qwen3-VL that was taught to, plays, looks and learns."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

trl = pytest.importorskip("trl", reason="TRL is an extra")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers.utils.chat_template_utils import get_json_schema  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402
from trl.data_utils import prepare_multimodal_messages  # noqa: E402

from ophiscope.adapters.trl import build_environment, list_rows, reward_episodes  # noqa: E402
from ophiscope.adapters.trl_processor import build_processor  # noqa: E402
from ophiscope.core.chat import ModelCard  # noqa: E402
from ophiscope.env import list_tools, make  # noqa: E402
from ophiscope.errors import WrongInput  # noqa: E402
from ophiscope.models.local.load import build_model, load_model, write_checkpoint  # noqa: E402
from ophiscope.models.local.tiny import build_tiny_config  # noqa: E402
from ophiscope.protocol.templates import SPECIAL_TOKENS  # noqa: E402
from ophiscope.recipes.tasks import build_draw  # noqa: E402

TASK = "phantom-image/L1"
CARD = ModelCard(
    "tiny",
    "qwen3_vl",
    "relative_1000",
    16,
    64 * 64,
    48 * 48,
    "qwen",
    token_exact=False,
    most_frames=4,
    frame_px=32 * 32,
)
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
BOX = [100, 100, 600, 600]


@pytest.mark.parametrize("task", [TASK, "phantom-video/when", "phantom-volume/where"])
def test_methods_say_what_our_schemas_say(task: str) -> None:
    one = build_environment(task)()
    shown = {name for name, _ in inspect.getmembers(type(one), inspect.isfunction) if not name.startswith("_")}
    schemas = list_tools(task)
    assert shown == {"reset", *(schema["name"] for schema in schemas)}
    for schema in schemas:
        told = get_json_schema(getattr(one, schema["name"]))["function"]
        assert (told["name"], told["description"]) == (schema["name"], schema["description"])
        asked, meant = told["parameters"], schema["parameters"]
        assert sorted(asked["required"]) == sorted(meant["required"])
        for name, field in meant["properties"].items():
            own = asked["properties"][name]
            assert own["type"] == field["type"]
            assert own["description"] == " ".join(field["description"].split())
            assert own.get("items", {}).get("type") == field.get("items", {}).get("type")


def test_an_episode_is_worth_what_it_is_worth_in_the_environment() -> None:
    one, other = build_environment(TASK, preset="atrl", card=CARD)(), make("atrl", card=CARD)
    answer = f"<answer>{build_draw(CARD)(TASK, 0).key.text} [E1]</answer>"
    row = list_rows(TASK, 1)[0]
    shown = one.reset(**row)
    assert [part["type"] for part in shown].count("image") == 1
    seen = one.zoom_in(view=1, box=BOX)
    assert [part["type"] for part in seen].count("image") == 1
    call = json.dumps({"name": "zoom_in", "arguments": {"view": 1, "box": BOX}})
    other.reset(TASK, 0)
    texts = [
        part.text for part in other.step(f"<tool_call>{call}</tool_call>").messages[0].parts if hasattr(part, "text")
    ]
    assert "".join(part["text"] for part in seen if part["type"] == "text") == "".join(texts)
    completion = [{"role": "assistant", "content": answer}]
    assert reward_episodes([completion], [one]) == [sum(other.step(answer).reward.values())]
    # an episode that TRL ended in the middle, and one that went on calling after its end
    one.reset(**row)
    told = {}
    assert reward_episodes([[]], [one], log_metric=told.__setitem__)[0] < 0
    assert told["reward/accuracy"] == 0
    assert one.zoom_in(view=1, box=BOX) == [{"type": "text", "text": "The episode is over."}]
    with pytest.raises(WrongInput, match="Unknown preset"):
        build_environment(TASK, preset="best")


def _write_student(folder: Path, texts: list[str]) -> None:
    """A tiny checkpoint whose tokenizer knows these texts."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, show_progress=False)
    )
    words.add_special_tokens([AddedToken(token, special=True) for token in ("<|endoftext|>", *SPECIAL_TOKENS)])
    config = build_tiny_config("qwen3_vl")
    for key, token in (
        ("image", "<|image_pad|>"),
        ("vision_start", "<|vision_start|>"),
        ("vision_end", "<|vision_end|>"),
    ):
        setattr(config, f"{key}_token_id", words.token_to_id(token))
    config.text_config.vocab_size = config.video_token_id = words.get_vocab_size()
    torch.manual_seed(0)
    write_checkpoint(folder, build_model(config), words, half=False)


def _teach(model: Any, processor: Any, conversations: list[list[dict]], tools: list) -> None:
    """Several conversations that begin alike, so that what differs is sampled with equal odds."""
    told = processor.apply_chat_template(
        [prepare_multimodal_messages(messages) for messages in conversations],
        tools=tools,
        chat_template=(TEMPLATES / "qwen3_vl_training.jinja").read_text(),
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        return_tensors="pt",
        padding=True,
    )
    written = torch.as_tensor(told.pop("assistant_masks")).bool()
    labels = told["input_ids"].masked_fill(~written, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(100):
        loss = model(**told, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_grpo_trainer_plays_looks_and_learns(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    looking = build_environment(TASK, preset="atrl", card=CARD)
    system = {"role": "system", "content": "Look, then answer."}  # ours is long for so small a model
    row, one = list_rows(TASK, 1)[0] | {"prompt": [system, {"role": "user", "content": ""}]}, looking()
    shown, seen = one.reset(**row), one.zoom_in(view=1, box=BOX)
    texts = [system["content"], *map(json.dumps, list_tools(TASK) * 2)]
    _write_student(tmp_path, texts + [part["text"] for part in shown + seen if part["type"] == "text"])
    template = (TEMPLATES / "qwen3_vl.jinja").read_text()
    processor = build_processor(tmp_path, chat_template=template, max_view_px=64 * 64, min_view_px=16 * 16)
    model = load_model(tmp_path)
    call = {"type": "function", "function": {"name": "zoom_in", "arguments": {"view": 1, "box": BOX}}}
    looked = [
        system,
        {"role": "user", "content": shown},
        {"role": "assistant", "content": "So.", "tool_calls": [call]},
        {"role": "tool", "name": "zoom_in", "content": seen},
    ]
    right = f"<answer>{build_draw(CARD)(TASK, 0).key.text} [E1]</answer>"
    answers = [{"role": "assistant", "content": text} for text in (right, "<answer>cannot tell</answer>")]
    tools = [getattr(one, name) for name in sorted(schema["name"] for schema in list_tools(TASK))]
    _teach(model, processor, [[*looked, answer] for answer in answers], tools)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = GRPOConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=8,
        num_generations=8,
        max_completion_length=300,
        max_steps=1,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        max_tool_calling_iterations=3,
        learning_rate=1e-3,
        temperature=0.7,
        seed=1,
    )
    trainer = GRPOTrainer(
        model,
        reward_funcs=[reward_episodes],
        args=options,
        train_dataset=Dataset.from_list([row] * 4),
        processing_class=processor,
        environment_factory=looking,
    )
    trainer.train()
    told = trainer.state.log_history[0]
    assert told["tools/call_frequency"] > 0.25
    assert told["tools/failure_frequency"] == 0
    assert told["reward/accuracy"] > 0
    assert told["reward_std"] > 0
    assert told["grad_norm"] > 0
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
