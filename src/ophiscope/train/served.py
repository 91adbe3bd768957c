"""Rollouts that a vLLM server samples, with the adapters that are being trained.

The server holds the model as it was at the start (``vllm serve MODEL --enable-lora``, with the variable
``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``); before every step the adapters are written to a folder that it can read, and
loaded in the place of the last ones. Its template makes the prompts, so every prompt is compared with ours token by
token. Its arithmetic is not ours: log-probabilities are worked out again by the trainer, and what both disagree by
weighs each token, cut off above (truncated importance sampling).

Names and fields: ``return_token_ids``, ``/v1/load_lora_adapter`` with ``load_inplace`` (vLLM 0.33.0).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ophiscope.core.chat import ModelCard, Reply, Request
from ophiscope.errors import ModelFailed
from ophiscope.ledger.disk import guard
from ophiscope.models.address import ServerAddress
from ophiscope.models.local.engine import LocalParts
from ophiscope.models.server import ServerModel
from ophiscope.net.transport import Link, LinkLimits, build_headers, build_tls
from ophiscope.train.examples import build_batch
from ophiscope.train.policy import compute_logprobs
from ophiscope.train.rollouts import Rollout
from ophiscope.train.run_config import LoraOptions
from ophiscope.train.weights import Weights

__all__ = ["ADAPTER_NAME", "ServedPolicy", "rescore"]

ADAPTER_NAME = "ophiscope"
_MOST = 2.0
"""No token weighs more than this for being likelier here than there."""


class ServedPolicy:
    """A :class:`~ophiscope.core.chat.ChatModel` that samples on a server with the adapters of the policy.

    Args:
        address: The server, and its name of the model at the start.
        card: Of the policy: its views, places and prompt.
        folder: Where adapters are written; the server reads the same path.
        lora: What they are.
        api_key: Sent as a bearer token.
    """

    def __init__(
        self, address: ServerAddress, card: ModelCard, folder: Path, lora: LoraOptions, *, api_key: str | None = None
    ) -> None:
        served = ServerAddress(address.base_url, ADAPTER_NAME)
        self._model = ServerModel(served, card=card, api_key=api_key)
        self._folder, self._lora, self._base = folder, lora, address.model
        self._link = Link(
            address.completions_url.removesuffix("/chat/completions") + "/load_lora_adapter",
            build_headers(api_key),
            LinkLimits(),
            build_tls(address.base_url),
            environment=not address.loopback,
        )

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._model.sample(requests)

    def close(self, session: str) -> None:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        self._model.close(session)

    def take_up(self, weights: Weights) -> None:
        """Give the server the adapters as they are now.

        Raises:
            ModelFailed: If it does not take them.
            DiskFailed: If they cannot be written.
        """
        options = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self._base,
            "r": self._lora.rank,
            "lora_alpha": self._lora.alpha,
            "lora_dropout": 0.0,
            "target_modules": list(self._lora.targets),
            "bias": "none",
        }
        with guard("write the adapters for the server"):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "adapter_config.json").write_text(json.dumps(options, indent=1) + "\n", "utf-8")
            part = self._folder / "adapter_model.part"
            save_file(weights.read_adapters(), part)
            os.replace(part, self._folder / "adapter_model.safetensors")
        asked = {"lora_name": ADAPTER_NAME, "lora_path": str(self._folder.resolve()), "load_inplace": True}
        try:
            self._link.exchange_alone(json.dumps(asked).encode(), lambda body: body)
        except ModelFailed as failure:
            raise ModelFailed(
                f"The server did not load the adapters ({failure}); it needs --enable-lora, "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and to see the run's folder."
            ) from None


def rescore(rollouts: Sequence[Rollout], parts: LocalParts, *, micro: int) -> list[Rollout]:
    """The same, with our log-probabilities of what was sampled, and what each token weighs for it.

    Args:
        rollouts: As a server sampled them.
        parts: Of the policy.
        micro: Episodes of one forward.
    """
    found: list[Rollout] = []
    for first in range(0, len(rollouts), micro):
        some = rollouts[first : first + micro]
        batch = build_batch([one.example for one in some], parts.layout, pad_id=parts.codec.end_id)
        batch = batch.to(parts.model.lm_head.weight.device)
        with torch.no_grad():
            ours_K = compute_logprobs(parts.model, batch, parts.codec.forbidden_ids).double().cpu().numpy()
        ends = np.cumsum([len(one.logprobs_K) for one in some])[:-1]
        for one, mine_K in zip(some, np.split(ours_K, ends), strict=True):
            weights_K = np.minimum(np.exp(mine_K - one.logprobs_K), _MOST)
            found.append(replace(one, logprobs_K=mine_K, weights_K=weights_K))
    return found
