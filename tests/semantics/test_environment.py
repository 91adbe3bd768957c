"""The environment: what a trainer elsewhere sees is what a model sees, and the key shows in the reward alone."""

import pickle

import pytest

from ophiscope import env
from ophiscope.core.chat import Request
from ophiscope.core.message import Message, Role
from ophiscope.core.trace import StopReason
from ophiscope.errors import WrongInput
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.tasks import SHORT, draw_video_task


def play(seed: int, environment: env.Environment) -> tuple[list[Message], env.EnvStep]:
    """The oracle as a policy that lives elsewhere: it sees the messages and nothing of this process."""
    task = draw_video_task(seed, ProcedureKind.WHEN, SHORT)
    oracle = build_procedure_oracle(task.procedure, task.ask, CARD)
    messages = list(environment.reset("phantom-video/when", seed))
    while True:
        text = oracle.sample([Request("s", tuple(messages), 0, 512)])[0].text
        messages.append(Message(Role.ASSISTANT, ()))
        step = environment.step(text)
        messages += step.messages
        if step.done:
            return messages, step


def test_an_episode_through_the_environment_is_rewarded_as_everywhere() -> None:
    environment = env.make("ga_grpo")
    rewards = []
    for seed in range(6):
        messages, last = play(seed, environment)
        assert last.stop is StopReason.ANSWERED
        assert messages[0].role is Role.SYSTEM
        assert sum(message.role is Role.TOOL for message in messages) >= 1
        assert all(message.views for message in messages if message.role is Role.TOOL)
        assert set(last.reward) == {"accuracy", "format", "evidence", "calls", "malformed"}
        rewards.append(sum(last.reward.values()))
    assert sum(rewards) / len(rewards) > 1.0


@pytest.mark.parametrize("name", env.list_names())
def test_every_task_opens_and_a_wrong_word_is_told(name: str) -> None:
    environment = env.make()
    opened = environment.reset(name, 1)
    assert [message.role for message in opened] == [Role.SYSTEM, Role.USER]
    assert opened[1].views
    step = environment.step("what?")
    assert not step.done
    assert step.reward == {}
    assert step.messages[0].role is Role.TOOL
    environment.close()


def test_nothing_of_the_key_is_in_what_is_shown() -> None:
    environment = env.make()
    for seed in range(4):
        task = draw_video_task(seed, ProcedureKind.WHEN, SHORT)
        shown = environment.reset("phantom-video/when", seed)
        step = environment.step(
            '<tool_call>{"name": "crop_video", "arguments": {"start_s": 0, "end_s": 9}}</tool_call>'
        )
        assert step.messages
        texts = "".join(message.text for message in (*shown, *step.messages))
        assert task.key.text not in texts
        assert pickle.dumps(task.key.events) not in pickle.dumps(texts)


def test_episodes_interleave_and_come_again() -> None:
    many = [env.make() for _ in range(64)]
    opened = [one.reset("phantom-volume/any", seed) for seed, one in enumerate(many)]
    again = env.make().reset("phantom-volume/any", 5)
    assert [message.text for message in again] == [message.text for message in opened[5]]
    steps = [one.step("<answer>no</answer>") for one in many]
    assert all(step.done for step in steps)
    assert {step.reward["accuracy"] for step in steps} == {0.0, 1.0}


def test_wrong_use_is_one_line() -> None:
    with pytest.raises(WrongInput, match="Unknown preset"):
        env.make("best")
    environment = env.make()
    with pytest.raises(WrongInput, match="call reset first"):
        environment.step("x")
    with pytest.raises(WrongInput, match="Unknown task 'x'; accepted are phantom-image/plain, phantom-image/L1"):
        environment.reset("x", 0)
    with pytest.raises(WrongInput, match="0 or more"):
        environment.reset("phantom-image/L1", -1)
    environment.reset("phantom-image/L1", 0)
    assert environment.step("<answer>cannot tell</answer>").done
    with pytest.raises(WrongInput, match="call reset first"):
        environment.step("<answer>yes</answer>")
