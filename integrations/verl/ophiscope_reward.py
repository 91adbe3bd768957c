"""``reward.custom_reward_function`` for verl: hands the last text to the environment, which judges the whole episode.

The row holds no truth (``ground_truth`` is empty); it names the task and the seed. The parts of the reward, and what
the advantage asks for, are returned beside the score and so reach ``extra_fields.reward_extra_info``.
"""

from __future__ import annotations

import re
from typing import Any

import ophiscope_client as env

__all__ = ["compute_score"]

_TURN = re.compile(r"\s*assistant\s*\n")


async def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Reward of one trajectory.

    Args:
        data_source: Not read.
        solution_str: All that follows the prompt, decoded without special tokens; its last turn is the model's.
        ground_truth: Not read.
        extra_info: ``task`` and ``seed`` of the row, and the episode where a call was made.

    Raises:
        EnvFailed: If the environment gives no answer: a reward that is not known must not be learned from.
    """
    told = extra_info.get("ophiscope_end")
    if told is None:
        episode = extra_info.get("ophiscope_episode")
        if episode is None:
            episode = (await env.begin(extra_info["task"], extra_info["seed"]))["episode"]
        told = await env.step(episode, _TURN.split(solution_str)[-1])
        if not told["done"]:
            told = await env.end(episode)
    parts = {f"reward_{name}": float(value) for name, value in told["reward"].items()}
    evidence = told["evidence"]
    return {
        "score": float(sum(told["reward"].values())),
        "evidence": -1.0 if evidence is None else float(evidence),
        "looked": float(told["looked"]),
        **parts,
    }
