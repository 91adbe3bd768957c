"""TRL's own GRPOTrainer on our environment: a tiny Qwen3-VL that was taught to, plays, looks and learns."""

import inspect
import json
from pathlib import Path

import pytest

trl = pytest.importorskip("trl", reason="TRL is an extra")

import torch  # noqa: E402
from transformers.utils.chat_template_utils import get_json_schema  # noqa: E402
from trl_student import BOX, CALL, CARD, TASK, build_trainer, right_answer, teach  # noqa: E402

from ophiscope.adapters.trl import build_environment, list_rows, reward_episodes  # noqa: E402
from ophiscope.env import list_tools, make  # noqa: E402
from ophiscope.errors import WrongInput  # noqa: E402


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
    answer = right_answer()
    row = list_rows(TASK, 1)[0]
    shown = one.reset(**row)
    assert [part["type"] for part in shown].count("image") == 1
    seen = one.zoom_in(view=1, box=BOX)
    assert [part["type"] for part in seen].count("image") == 1
    other.reset(TASK, 0)
    texts = [
        part.text
        for part in other.step(f"<tool_call>{json.dumps(CALL)}</tool_call>").messages[0].parts
        if hasattr(part, "text")
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


def test_grpo_trainer_plays_looks_and_learns(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model, processor = teach(tmp_path / "student")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = build_trainer(model, processor, tmp_path / "out", steps=1)
    trainer.train()
    told = trainer.state.log_history[0]
    assert told["tools/call_frequency"] > 0.25
    assert told["tools/failure_frequency"] == 0
    assert told["reward/accuracy"] > 0
    assert told["reward_std"] > 0
    assert told["grad_norm"] > 0
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
