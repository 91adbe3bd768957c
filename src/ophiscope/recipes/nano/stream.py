"""An endless stream of training batches, made in worker processes while the model trains."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ophiscope.core.trace import StopReason
from ophiscope.data.seg_pack import Split
from ophiscope.models.local.tokens import TextCodec, load_codec
from ophiscope.recipes.mixture import draw_kind
from ophiscope.recipes.nano.arms import ARMS, Arm, write_arm_trajectory
from ophiscope.recipes.nano.real_pictures import RealPicture
from ophiscope.recipes.nano.recovery import Slips
from ophiscope.recipes.nano.shape import LAYOUT
from ophiscope.recipes.nano.tasks import (
    AIMING,
    APART,
    CARD,
    MIXTURE,
    Kind,
    Task,
    draw_phantom_task,
    draw_real_task,
    find_choice_seed,
    read_real_pictures,
)
from ophiscope.recipes.nano.vocabulary import DECISIVE, GREATEST_NUMBER
from ophiscope.recipes.nano.wordings import reword
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.train.examples import Example, ExampleBatch, build_batch, encode_messages
from ophiscope.worlds.domain import IN_DOMAIN, UNFAMILIAR

__all__ = ["Batches", "draw_task", "encode_task", "find_box_ids", "find_decisive_ids"]

_STRANGE, _STRANGE_SHARE = ("L1", "L3"), 0.25
"""Kinds of which a share shows organs at levels of no modality."""
_POOL = 6
"""Batches whose examples are sorted by length together."""
_REAL = ("real", "mosaic")
_PACKED = (*_REAL, "tile", "named", "boxed")
"""Kinds that need the pack."""
_FRESH = 0.3
"""Share of real trajectories that are written anew (the segmenter is slow); the others are used again."""
_KEPT_LEAST = 60
_RARE: Mapping[Kind, tuple[tuple[Kind, ...], Callable[[Task], bool]]] = {
    "share": (("plain", "real"), lambda task: task.key.group.endswith("share")),
    "boxed": (("real",), lambda task: task.key.group.endswith("box")),
    "counted": (("L1", "W"), lambda task: task.key.text.isdigit()),
}
"""What is rare in other kinds, in turn, but hard to learn: a number to be copied, a box by eye, calcifications."""


class Batches(torch.utils.data.IterableDataset[ExampleBatch]):
    """Examples of the mixture, sorted by length in pools; worker ``k`` draws seeds ``k, k + workers, ...``.

    Args:
        folder: Holds ``tokenizer.json``.
        pack: The seg_pack folder, or None for phantoms only.
        batch: Examples of a batch.
        first_seed: Where the stream begins; a resumed run gives the number of examples seen.
        mixture: Share of each kind.
        aim_until: Seeds below this are drawn by :data:`~ophiscope.recipes.nano.tasks.AIMING`.
        arm: Which arm learns from them.
    """

    def __init__(
        self,
        folder: Path,
        pack: Path | None,
        *,
        batch: int,
        first_seed: int,
        mixture: Mapping[Kind, float] = MIXTURE,
        aim_until: int = 0,
        arm: Arm = ARMS["tools"],
    ) -> None:
        self._aim_until = aim_until
        self._folder, self._pack, self._batch, self._first_seed = folder, pack, batch, first_seed
        self._arm = arm
        self._mixture = {kind: share for kind, share in mixture.items() if pack is not None or kind not in _PACKED}

    def __iter__(self) -> Iterator[ExampleBatch]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        step, offset = (worker.num_workers, worker.id) if worker else (1, 0)
        codec = load_codec(self._folder)
        box_ids = find_box_ids(codec)
        pictures = read_real_pictures(self._pack, Split.TRAIN) if self._pack else ()
        segmenter = build_segmenter("nano-seg")
        rng = np.random.default_rng([self._first_seed, offset])
        pool: list[Example] = []
        kept: list[Example] = []
        seed = self._first_seed + offset
        while True:
            kind = draw_kind(seed, AIMING if seed < self._aim_until else self._mixture)
            if kind in _REAL and len(kept) > _KEPT_LEAST and rng.uniform() > _FRESH:
                pool.append(kept[int(rng.integers(len(kept)))])
            else:
                task = draw_task(seed, kind, pictures)
                slips = seed if self._arm.tools == "all" else None
                example = encode_task(task, codec, box_ids, segmenter, arm=self._arm, slips=slips)
                found = [example] if example is not None else []
                pool += found
                kept += found if kind in _REAL else []
            seed += step
            if len(pool) == _POOL * self._batch:
                pool.sort(key=lambda example: len(example.token_ids_T))
                for index in rng.permutation(_POOL):
                    yield build_batch(
                        pool[index * self._batch : (index + 1) * self._batch], LAYOUT, pad_id=codec.end_id
                    )
                pool = []


def draw_task(seed: int, kind: Kind, pictures: Sequence[RealPicture]) -> Task:
    """One task, a pure function of its arguments."""
    task = _draw_task(seed, kind, pictures)
    words = reword(task.case.question, np.random.default_rng([seed, 37]))
    return task._replace(case=replace(task.case, question=words))


def _draw_task(seed: int, kind: Kind, pictures: Sequence[RealPicture]) -> Task:
    if kind in _RARE:
        return _draw_rare(seed, kind, pictures)
    if kind == "mark" or kind in _PACKED:
        return draw_real_task(seed, kind, pictures)
    if kind == "choice":
        return draw_phantom_task(find_choice_seed(seed), "plain")
    strange = kind in _STRANGE and np.random.default_rng([seed, 31]).uniform() < _STRANGE_SHARE
    return draw_phantom_task(seed, kind, domain=UNFAMILIAR if strange else IN_DOMAIN)


def _draw_rare(seed: int, kind: Kind, pictures: Sequence[RealPicture]) -> Task:
    others, is_wanted = _RARE[kind]
    others = tuple(other for other in others if pictures or other not in _PACKED)
    other = others[seed % len(others)]
    return next(
        task for turn in itertools.count(1) if is_wanted(task := _draw_task(seed + turn * APART, other, pictures))
    )


def encode_task(
    task: Task,
    codec: TextCodec,
    box_ids: tuple[frozenset[int], frozenset[int]],
    segmenter: Segmenter,
    *,
    arm: Arm = ARMS["tools"],
    slips: int | None = None,
) -> Example | None:
    """What ``arm`` learns of a task (the oracle's trajectory, or the answer at once), as tokens.

    Args:
        task: The question and its oracle.
        codec: Nano's tokenizer.
        box_ids: From :func:`find_box_ids`.
        segmenter: What the tools use.
        arm: What is learned.
        slips: Seed of what goes wrong on the way (:class:`~ophiscope.recipes.nano.recovery.Slips`); None for nothing.

    Returns:
        None where the trajectory did not come to an answer (a segmenter may give an empty mask): it teaches nothing.
    """
    hand = Slips(task.oracle, np.random.default_rng([slips, 29])) if slips is not None else None
    outcome = write_arm_trajectory(task._replace(oracle=hand) if hand is not None else task, arm, segmenter)
    if outcome.stop is not StopReason.ANSWERED:
        return None
    return encode_messages(
        outcome.messages,
        family=CARD.family,
        encode_text=codec.encode,
        special_ids=codec.special_ids,
        layout=LAYOUT,
        box_ids=box_ids,
        meant=hand.meant if hand is not None else None,
    )


def find_box_ids(codec: TextCodec) -> tuple[frozenset[int], frozenset[int]]:
    """The tokens that open a box or a point in a thought, a call or an answer, and those that may stand inside."""
    openers, separator = {codec.encode(text)[0] for text in (', "box": [', " [")}, codec.encode(", ")[0]
    zero = codec.encode("0")[0]
    return frozenset(openers), frozenset({separator, *range(zero, zero + GREATEST_NUMBER + 1)})


def find_decisive_ids(codec: TextCodec) -> frozenset[int]:
    """The tokens of :data:`~ophiscope.recipes.nano.vocabulary.DECISIVE`, alone or after a space.

    Raises:
        ValueError: If a word is one token in neither way.
    """
    found: set[int] = set()
    for word in DECISIVE:
        whole = {ids[0] for before in ("", " ") if len(ids := codec.encode(before + word)) == 1}
        if not whole:
            raise ValueError(f"The tokenizer cuts {word!r} to pieces; what decides has to be one token.")
        found |= whole
    return frozenset(found)
