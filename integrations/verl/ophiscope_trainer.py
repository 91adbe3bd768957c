"""GA-GRPO for verl: a synchronous trainer whose advantages know how good the evidence was.

verl's estimators see rewards alone. So the step that computes advantages is made anew here: the reward, centred in its
group, times a factor of sign and evidence, centred again (``ophiscope.train.advantages``, installed with
``pip install --no-deps ophiscope``; that module needs numpy and pydantic and nothing else).

Choose it with ``trainer.v1.trainer_mode=ophiscope_ga`` and ``VERL_USE_EXTERNAL_MODULES=ophiscope_trainer``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from ophiscope.train.advantages import dr_grpo, modulate_evidence

__all__ = ["GATrainer", "compute_ga_advantages"]


def compute_ga_advantages(
    rewards_B: np.ndarray, evidence: list[float | None], groups: list[Any], looked_B: np.ndarray
) -> np.ndarray:
    """Advantage of each trajectory of a batch.

    Args:
        rewards_B: Sums of the reward parts.
        evidence: Of each, None where nothing had to be looked at.
        groups: What each began from; those that are alike make a group.
        looked_B: Whether it looked.
    """
    advantages_B = np.zeros(len(rewards_B))
    for group in dict.fromkeys(groups):
        own = [index for index, other in enumerate(groups) if other == group]
        scores = [evidence[index] for index in own]
        asked_G = np.asarray([score is not None for score in scores])
        rate = float((looked_B[own] * asked_G).mean())
        curious_G = 0.5 * max(0.0, 0.3 - rate) * looked_B[own] * asked_G
        advantages_B[own] = modulate_evidence(dr_grpo(rewards_B[own] + curious_G), scores)
    return advantages_B


@register_trainer("ophiscope_ga")
class GATrainer(PPOTrainerSync):
    """Synchronous PPO with the advantages above; everything else is verl's."""

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        fields = ["uid", "response_mask", "rm_scores", "extra_fields"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        mask = data["response_mask"]
        rewards_B = data["rm_scores"].to_padded_tensor(0.0).sum(-1).double().numpy()
        told = [fields.get("reward_extra_info", {}) for fields in data["extra_fields"].tolist()]
        evidence = [None if one.get("evidence", -1.0) < 0 else one["evidence"] for one in told]
        looked_B = np.asarray([one.get("looked", 0.0) for one in told])
        advantages_B = compute_ga_advantages(rewards_B, evidence, data["uid"].tolist(), looked_B)
        padded_B_T = mask.to_padded_tensor(0).float() * torch.from_numpy(advantages_B).float()[:, None]
        nested = response_to_nested(padded_B_T, mask)
        metrics["ophiscope/evidence"] = float(np.mean([score or 0.0 for score in evidence]))
        metrics["ophiscope/looked"] = float(looked_B.mean())
        output = TensorDict({"advantages": nested, "returns": nested}, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=output)
