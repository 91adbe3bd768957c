"""A tiny Qwen3-VL that was taught to look once and answer, for TRL's trainer and for ours: same weights, same tools."""

import json
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from trl import GRPOConfig, GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from ophiscope.adapters.trl import build_environment, list_rows, reward_episodes
from ophiscope.adapters.trl_processor import PictureProcessor, build_processor
from ophiscope.core.chat import ModelCard
from ophiscope.env import list_tools
from ophiscope.models.local.load import build_model, load_model, write_checkpoint
from ophiscope.models.local.tiny import build_tiny_config
from ophiscope.protocol.templates import SPECIAL_TOKENS
from ophiscope.recipes.tasks import build_draw

__all__ = [
    "BOX",
    "CALL",
    "CARD",
    "SYSTEM",
    "TASK",
    "build_row",
    "build_trainer",
    "right_answer",
    "teach",
    "write_student",
]

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
    frame_px=1024,
)
BOX = [100, 100, 600, 600]
CALL = {"name": "zoom_in", "arguments": {"view": 1, "box": BOX}}
SYSTEM = "Look, then answer."
"""Ours is long for so small a model."""
_TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def build_row() -> dict[str, Any]:
    """A row of a data set for TRL, with the short prompt."""
    prompt = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ""}]
    return list_rows(TASK, 1)[0] | {"prompt": prompt}


def right_answer() -> str:
    """Of that row."""
    return f"<answer>{build_draw(CARD)(TASK, 0).key.text} [E1]</answer>"


def write_student(folder: Path, texts: list[str], *, hidden: int = 64, layers: int = 3) -> None:
    """A tiny checkpoint whose tokenizer knows these texts."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words.train_from_iterator(texts, trainer)
    words.add_special_tokens([AddedToken(token, special=True) for token in ("<|endoftext|>", *SPECIAL_TOKENS)])
    config = build_tiny_config("qwen3_vl", hidden=hidden, layers=layers)
    for key, token in (
        ("image", "<|image_pad|>"),
        ("vision_start", "<|vision_start|>"),
        ("vision_end", "<|vision_end|>"),
    ):
        setattr(config, f"{key}_token_id", words.token_to_id(token))
    config.text_config.vocab_size = config.video_token_id = words.get_vocab_size()
    torch.manual_seed(0)
    write_checkpoint(folder, build_model(config), words, half=False)


def teach(folder: Path, *, steps: int = 100, **size: int) -> tuple[Any, PictureProcessor]:
    """A student in ``folder`` that calls once and then answers, rightly or not, with equal odds; and its processor."""
    row, one = build_row(), build_environment(TASK, preset="atrl", card=CARD)()
    shown, seen = one.reset(**row), one.zoom_in(view=1, box=BOX)
    texts = [SYSTEM, *map(json.dumps, list_tools(TASK) * 2)]
    texts += [f"So.\n<think>So.</think>\n<tool_call>\n{json.dumps(CALL)}\n</tool_call>", right_answer()] * 3
    write_student(folder, texts + [part["text"] for part in shown + seen if part["type"] == "text"], **size)
    template = (_TEMPLATES / "qwen3_vl.jinja").read_text("utf-8")
    processor = build_processor(folder, chat_template=template, max_view_px=64 * 64, min_view_px=16 * 16)
    model = load_model(folder)
    looked = [
        row["prompt"][0],
        {"role": "user", "content": shown},
        {"role": "assistant", "content": "So.", "tool_calls": [{"type": "function", "function": CALL}]},
        {"role": "tool", "name": "zoom_in", "content": seen},
    ]
    answers = [{"role": "assistant", "content": text} for text in (right_answer(), "<answer>cannot tell</answer>")]
    told = processor.apply_chat_template(
        [prepare_multimodal_messages([*looked, answer]) for answer in answers],
        tools=[getattr(one, name) for name in sorted(schema["name"] for schema in list_tools(TASK))],
        chat_template=(_TEMPLATES / "qwen3_vl_training.jinja").read_text("utf-8"),
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
    for _ in range(steps):
        model(**told, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, processor


def build_trainer(
    model: Any, processor: PictureProcessor, out: Path, *, steps: int, group: int = 8, lr: float = 1e-3
) -> GRPOTrainer:
    """TRL's trainer on one question, ``group`` rollouts a step."""
    options = GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=group,
        num_generations=group,
        max_completion_length=300,
        max_steps=steps,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        max_tool_calling_iterations=3,
        learning_rate=lr,
        temperature=0.7,
        seed=1,
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model,
        reward_funcs=[reward_episodes],
        args=options,
        train_dataset=Dataset.from_list([build_row()] * 4),
        processing_class=processor,
        environment_factory=build_environment(TASK, preset="atrl", card=CARD),
    )
