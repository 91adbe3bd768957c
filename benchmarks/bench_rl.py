"""A step of reinforcement learning beside one of TRL's GRPOTrainer: same tiny architecture, question, tools, machine.

Run: ``python benchmarks/bench_rl.py`` (needs ``ophiscope[local,trl]``). Both students are taught the same conversation,
each in the words that its trainer renders; eight episodes of one call and an answer a step. Also: batched episodes
beside plain generation of as many tokens, and a checkpoint beside a step.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from trl_student import CALL, CARD, SYSTEM, TASK, build_trainer, right_answer, teach

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.prompt import parse_prompt
from ophiscope.core.chat import Request
from ophiscope.core.message import Role
from ophiscope.models.local.engine import LocalModel
from ophiscope.models.local.load import load_local
from ophiscope.recipes.tasks import build_draw
from ophiscope.train.grpo import Grpo, GrpoSettings, build_encoder
from ophiscope.train.rollouts import RolloutTask, collect_rollouts
from ophiscope.train.run_config import RunConfig
from ophiscope.train.run_folder import RunFolder
from ophiscope.train.steps import Learner
from ophiscope.train.supervise import Lesson, Lessons, Teacher
from ophiscope.train.weights import Weights

GROUP, STEPS, TAUGHT = 8, 9, 150
LR = 1e-6
"""So small that both go on doing what they were taught."""


def main() -> None:
    """Print ratios of medians."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    """All of it."""
    theirs_rollout, theirs_step = time_trl(folder)
    model = load_local(f"hf:{folder / 'student'}")
    model = LocalModel(dataclasses.replace(model.parts, card=dataclasses.replace(CARD, token_exact=True)))
    task = build_task()
    teach_ours(model, task)
    rollouts, steps, kept, tokens = time_ours(model, task, folder)
    plain = time_plain(model, task, tokens)
    print(f"rollouts of {GROUP} episodes: {median(rollouts):.2f} s, TRL {median(theirs_rollout):.2f} s", end="  ")
    print(f"{median(theirs_rollout) / median(rollouts):.1f}x")
    print(f"whole step: {median(steps):.2f} s, TRL {median(theirs_step):.2f} s", end="  ")
    print(f"{median(theirs_step) / median(steps):.1f}x")
    print(
        f"batched episodes: {tokens / median(rollouts):.0f} tokens/s, plain generation {tokens / plain:.0f}", end="  "
    )
    print(f"{plain / median(rollouts):.2f}")
    print(f"a checkpoint: {median(kept):.3f} s, {median(kept) / median(steps):.1%} of a step")


def median(values: list[float]) -> float:
    """Of all but the first, which warms caches."""
    return statistics.median(values[1:])


def timed(times: list[float], call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, with its seconds kept."""

    def wrapped(*args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args, **named)
        finally:
            times.append(time.perf_counter() - began)

    return wrapped


def time_trl(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of generation with tools, and of whole steps."""
    student, processor = teach(folder / "student", steps=TAUGHT)
    trainer = build_trainer(student, processor, folder / "out", steps=STEPS, group=GROUP, lr=LR)
    rollouts: list[float] = []
    steps: list[float] = []
    trainer._generate = timed(rollouts, trainer._generate)
    trainer.training_step = timed(steps, trainer.training_step)
    trainer.train()
    calls = [line["tools/call_frequency"] for line in trainer.state.log_history if "tools/call_frequency" in line]
    lengths = [line["completions/mean_length"] for line in trainer.state.log_history if "tools/call_frequency" in line]
    print(
        f"TRL: {statistics.mean(calls):.2f} calls, {statistics.mean(lengths):.0f} tokens an episode, observations too"
    )
    return rollouts, steps


def build_task() -> RolloutTask:
    """The question, with a prompt as short as TRL's."""
    task = build_draw(CARD)(TASK, 0)
    prompt = parse_prompt("short", f"{SYSTEM}\n\n# Tools\n\n{{tools}}".encode())
    limits = task.setup.limits.model_copy(update={"max_turns": 2, "max_reply_tokens": 150})
    setup = dataclasses.replace(task.setup, card=CARD, prompt=prompt, limits=limits, temperature=0.7)
    return RolloutTask(task.case, task.key, setup)


class Teaches:
    """A ChatModel that says what is taught."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    @property
    def card(self) -> Any:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return CARD

    def sample(self, requests: Any) -> Any:
        """A call first, then the answer."""
        from ophiscope.core.chat import FinishReason, Reply

        called = any(message.role is Role.TOOL for message in requests[0].messages)
        call = f"<think>So.</think>\n<tool_call>{json.dumps(CALL)}</tool_call>"
        return [Reply(self._answer if called else call, FinishReason.STOP)]

    def close(self, session: str) -> None:
        """Nothing is kept."""


def teach_ours(model: LocalModel, task: RolloutTask) -> None:
    """The same conversations in our words."""
    lessons = [
        Lesson(collect_episode(task.case, Teaches(answer), task.setup, session="taught").messages)
        for answer in (right_answer(), "<answer>cannot tell</answer>")
    ]
    learner = Learner.build(Weights(model.parts.model), 3e-3)
    config = RunConfig(start="hf:student", steps=TAUGHT)
    batches = Lessons(lambda number: lessons[number % 2], model, batch=2, pool=1, seed=0)
    teacher = Teacher(model, batches, lambda rate: learner.update(3e-3), config)
    for number in range(TAUGHT):
        teacher.step(number)


def time_ours(
    model: LocalModel, task: RolloutTask, folder: Path
) -> tuple[list[float], list[float], list[float], float]:
    """Seconds of rollouts, of whole steps, of checkpoints; and tokens of a group."""
    learner = Learner.build(Weights(model.parts.model), LR)
    trainer = Grpo(model, lambda number: task, learner.update, GrpoSettings("dr_grpo", group=GROUP, questions=1))
    rollouts: list[float] = []
    steps: list[float] = []
    kept: list[float] = []
    trainer._play = timed(rollouts, trainer._play)  # type: ignore[method-assign]
    run = RunFolder(folder / "run", {"steps": STEPS})
    reports = []
    for number in range(STEPS):
        reports.append(timed(steps, trainer.step)(number))
        timed(kept, run.save)(learner.read(number))
    run.close()
    written = statistics.mean(report.tokens for report in reports) / GROUP
    calls = statistics.mean(report.calls for report in reports)
    print(f"ours: {calls:.2f} calls, {written:.0f} tokens written an episode")
    return rollouts, steps, kept, statistics.mean(report.tokens for report in reports)


def time_plain(model: LocalModel, task: RolloutTask, tokens: float) -> float:
    """Seconds of a plain batched generation of as many tokens from the same prompt, no tools and no second turn."""
    rollout = collect_rollouts(task, model, build_encoder(model), size=1, session="p", seed=0)[0]
    messages = rollout.outcome.messages[:2]
    times = []
    for turn in range(3):
        want = round(tokens / GROUP)
        requests = [Request(f"plain{turn}/{row}", messages, row, want, temperature=3.0) for row in range(GROUP)]
        began = time.perf_counter()
        replies = model.sample(requests)
        seconds = time.perf_counter() - began
        given = sum(len(reply.token_ids or ()) for reply in replies)
        times.append(seconds * tokens / given)
        for request in requests:
            model.close(request.session)
    return min(times)


if __name__ == "__main__":
    main()
