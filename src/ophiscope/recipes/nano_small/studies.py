"""What is compared: recipes of ``ophiscope train``, a parent for all arms of a seed, and fresh questions for all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.eval.items import ItemSource
from ophiscope.recipes.nano.items import FIRST_TEST_SEED, list_phantom_sources
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.recipes.nano_video.items import list_video_sources, set_up
from ophiscope.worlds.domain import IN_DOMAIN

__all__ = ["STUDIES", "Study"]

_PICTURE_SEED = FIRST_TEST_SEED + 4_000_000


@dataclass(frozen=True, slots=True)
class Study:
    """Arms that part ways from one parent."""

    recipe: str
    """As ``ophiscope train`` knows it."""
    parent: tuple[str, ...]
    """``key=value`` of the stage that all arms of a seed begin from; its seed is theirs."""
    arms: Mapping[str, tuple[str, ...]]
    """``key=value`` of each; the first is what the others are held against."""
    list_sources: Callable[[int], Sequence[ItemSource]]
    """So many questions that no training saw, the same for every arm and seed."""
    set_up: Callable[[Case, ChatModel], Setup]


def _list_pictures(n: int) -> Sequence[ItemSource]:
    return list_phantom_sources(("L3",), n, first_seed=_PICTURE_SEED, domain=IN_DOMAIN, whole=False)


def _reinforce(advantage: str, *more: str) -> tuple[str, ...]:
    return ("stage=reinforce", f"rl.advantage={advantage}", *more)


_TAUGHT = "stage=cold_start"
STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        "video": Study(
            "nano_video",
            (_TAUGHT, "start=nano-video", "steps=30", "sft.lr=1e-4"),
            {
                "accuracy only": _reinforce("dr_grpo", "steps=30"),
                "modulation": _reinforce("modulation", "steps=30"),
                "evidence": _reinforce("evidence", "steps=30"),
                "evidence and modulation (ga_grpo)": _reinforce("ga_grpo", "steps=30"),
                "modulated by another's evidence": _reinforce("ga_grpo_placebo", "steps=30"),
                "as published (ga_grpo_paper)": _reinforce("ga_grpo_paper", "steps=30"),
                "SFT longer": (_TAUGHT, "steps=60", "sft.lr=1e-4"),
            },
            lambda n: list_video_sources("when", n),
            set_up,
        ),
        "pictures": Study(
            "nano_image",
            (_TAUGHT, "start=nano", "steps=30", "sft.lr=1e-4", "worlds.kinds=['L3']"),
            {
                "SFT longer": (_TAUGHT, "steps=150", "sft.lr=1e-4", "worlds.kinds=['L3']"),
                "kept where right (rejection)": _reinforce(
                    "rejection", "steps=60", "worlds.kinds=['L3']", "rl.lr=2e-5"
                ),
                "accuracy only (grpo)": _reinforce("grpo", "steps=60", "worlds.kinds=['L3']", "rl.lr=2e-5"),
                "atrl": _reinforce("atrl", "steps=60", "worlds.kinds=['L3']", "rl.lr=2e-5"),
                "as published (atrl_paper)": _reinforce("atrl_paper", "steps=60", "worlds.kinds=['L3']", "rl.lr=2e-5"),
            },
            _list_pictures,
            lambda case, model: build_setup(case, None, card=model.card),
        ),
    }
)
