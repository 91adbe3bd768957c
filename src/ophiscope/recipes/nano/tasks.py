"""The mixture of questions that nano learns from, and the trajectories that oracles write for them with real tools."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.limits import Limits
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.prompt import read_prompt
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.core.framing import ViewPolicy
from ophiscope.data.seg_pack import Annotation, SegRow, Split, read_mask, read_rows
from ophiscope.media.study import read_study
from ophiscope.models.local.nano import NANO_VIEW_PX
from ophiscope.protocol.coords import PROFILES
from ophiscope.recipes.nano.marks import pose_mark
from ophiscope.recipes.nano.mosaics import pose_mosaic, pose_tile
from ophiscope.recipes.nano.named import pose_named
from ophiscope.recipes.nano.real_pictures import RealPicture, draw_picture
from ophiscope.recipes.nano.real_tasks import build_real_oracle, pose_real
from ophiscope.tools.build import build_tools
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.worlds.asks import pose_question
from ophiscope.worlds.domain import IN_DOMAIN, Domain
from ophiscope.worlds.draw import Needle, draw_world
from ophiscope.worlds.oracle import build_oracle
from ophiscope.worlds.study import build_array_phantom, build_lazy_phantom

__all__ = [
    "AIMING",
    "APART",
    "CARD",
    "MIXTURE",
    "Kind",
    "Task",
    "build_setup",
    "draw_phantom_task",
    "draw_real_task",
    "find_choice_seed",
    "read_real_pictures",
    "write_trajectory",
]

CARD = ModelCard(
    name="nano", family="nano", coords="relative_1000", patch_px=16, max_view_px=NANO_VIEW_PX, min_view_px=NANO_VIEW_PX,
    prompt="nano", token_exact=True,
)  # fmt: skip
Kind = str
"""A key of :data:`MIXTURE`."""
MIXTURE: Mapping[Kind, float] = {
    "plain": 0.09,
    "L1": 0.14,
    "L2": 0.06,
    "L3": 0.14,
    "W": 0.12,
    "counted": 0.15,
    "real": 0.09,
    "boxed": 0.04,
    "mosaic": 0.05,
    "tile": 0.01,
    "share": 0.03,
    "choice": 0.05,
    "named": 0.02,
    "mark": 0.01,
}
AIMING: Mapping[Kind, float] = {"plain": 0.35, "mark": 0.1, "L1": 0.35, "L2": 0.1, "L3": 0.1}
"""What comes first: where to look is learned slowest, and these ask for a box in almost every turn."""


_CHOSEN = re.compile(r"\b(larger|smaller|left|right|upper|lower) lesion\b")
APART = 100_000_000
"""Between the seeds that are tried for one task; those of other uses lie below."""


class Task(NamedTuple):
    """A question, its truth, and an oracle that answers it by looking."""

    case: Case
    key: AnswerKey
    oracle: ChatModel


def draw_phantom_task(seed: int, kind: Kind, *, domain: Domain = IN_DOMAIN, whole: bool = False) -> Task:
    """A question about a phantom, a pure function of its arguments.

    Args:
        seed: Of world and question.
        kind: A :class:`~ophiscope.worlds.draw.Needle`.
        domain: In-domain, or one of :data:`HELD_OUT`.
        whole: Draw the whole picture once (as a file would be) instead of only what is looked at.
    """
    world = draw_world(seed, domain.build_recipe(kind))
    study = build_array_phantom(world) if whole else build_lazy_phantom(world)
    posed = pose_question(np.random.default_rng([seed, 17]), world, study, Needle(kind))
    return Task(posed.case, posed.key, build_oracle(world, posed.ask, CARD))


def find_choice_seed(seed: int) -> int:
    """The first of the seeds ``seed + k * APART`` whose ``plain`` question means one of two lesions by size or side."""
    seeds = (seed + turn * APART for turn in itertools.count(1))
    return next(found for found in seeds if _CHOSEN.search(draw_phantom_task(found, "plain").case.question))


def draw_real_task(seed: int, kind: Kind, pictures: Sequence[RealPicture], *, augment: bool = True) -> Task:
    """A question about a real picture, a mosaic of them (``mosaic``, ``tile``), or a marked picture (``mark``)."""
    rng = np.random.default_rng([seed, 19])
    if kind == "mark":
        posed = pose_mark(rng)
    elif kind == "mosaic":
        posed = pose_mosaic(rng, pictures, augment=augment)
    elif kind == "named":
        posed = pose_named(rng, pictures, augment=augment)
    elif kind == "tile":
        posed = pose_tile(rng, pictures, augment=augment)
    else:
        picture = draw_picture(rng, pictures, lambda picture: picture.rows[0].source)
        posed = pose_real(rng, picture, augment=augment)
    return Task(posed.case, posed.key, build_real_oracle(posed.ask, CARD))


def read_real_pictures(pack: Path, split: Split) -> tuple[RealPicture, ...]:
    """All pictures of one split with their human masks; CT and MR slices have none, and are asked modality and site."""
    by_image: dict[str, list[SegRow]] = {}
    for row in read_rows(pack):
        if row.split is split:
            by_image.setdefault(row.image, []).append(row)
    pictures = []
    for image, rows in by_image.items():
        masks = {row.target: read_mask(pack, row.mask) for row in rows if row.annotation is Annotation.HUMAN}
        pixels = np.asarray(read_study(pack / image).source.read_root(), dtype=np.uint8)
        pictures.append(RealPicture(pixels, tuple(rows), masks))
    return tuple(pictures)


def build_setup(case: Case, segmenter: Segmenter | None, *, tools: str = "all", card: ModelCard = CARD) -> Setup:
    """What the loop needs for ``case``: the very setting in which nano is used."""
    return Setup(
        card=card,
        profile=PROFILES[card.coords],
        prompt=read_prompt(card.prompt),
        tools=build_tools(tools, case),
        segmenter=segmenter,
        policy=ViewPolicy(card.patch_px, card.max_view_px, card.min_view_px),
        limits=Limits(),
    )


def write_trajectory(task: Task, segmenter: Segmenter | None, *, session: str = "oracle") -> Outcome:
    """Let the oracle answer, through the loop and the tools that serve users."""
    return collect_episode(task.case, task.oracle, build_setup(task.case, segmenter), session=session)
