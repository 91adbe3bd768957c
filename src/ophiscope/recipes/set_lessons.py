"""Conversations from sets (``ophiscope data build``): what was said is read, what was shown is shown again.

A record keeps the replies of its episode and the card it was played with; the pictures are made anew by the very loop
and tools, from the media of the set, so that a model learns from the pixels it will meet.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ophiscope.agent.assemble import SetupOptions, build_segmenter, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.limits import Limits
from ophiscope.core.chat import ModelCard
from ophiscope.core.trace import StopReason
from ophiscope.data.episodes import list_replies
from ophiscope.data.finished import open_set
from ophiscope.data.record import Record
from ophiscope.data.tasks_file import open_task
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.models.scripted import ScriptedModel
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.tools.segmenting import SEGMENTING
from ophiscope.train.supervise import Lesson, Teach

__all__ = ["teach_by_sets"]

_SHOWN = ("coords", "patch_px", "max_view_px", "min_view_px", "most_frames", "frame_px")
"""What of a card decides which pictures were shown, and how places were written."""


class _Place(NamedTuple):
    folder: Path
    shard: str
    offset: int


def teach_by_sets(folders: Sequence[str], card: ModelCard, *, seed: int) -> Teach:
    """The episodes of sets, each once an epoch in an order of its own; those of the training side.

    Args:
        folders: Of finished sets.
        card: Of the model that learns; sets that were written for another are refused.
        seed: Of the order.

    Raises:
        WrongInput: If a folder holds no set, or none of its episodes is for this model.
    """
    places = [place for folder in folders for place in _list_episodes(Path(folder), card)]
    if not places:
        raise WrongInput(f"sets = {list(folders)}: there are no episodes in them; questions alone teach nothing here.")

    def teach(number: int) -> Lesson | None:
        epoch, at = divmod(number, len(places))
        place = places[int(_shuffle(len(places), seed, epoch)[at])]
        with (place.folder / place.shard).open("rb") as file:
            file.seek(place.offset)
            record = Record.model_validate_json(file.readline())
        try:
            return _show_again(record, place.folder, card)
        except OphiscopeError:
            return None

    return teach


@lru_cache(maxsize=2)
def _shuffle(count: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _list_episodes(folder: Path, card: ModelCard) -> list[_Place]:
    places = []
    for shard in open_set(folder).manifest["shards"]:
        offset = 0
        with (folder / shard["file"]).open("rb") as file:
            for line in file:
                if b'"turns":' in line:
                    value = json.loads(line)
                    if value.get("split", "train") == "train":
                        _check_card(value.get("card") or {}, card, folder)
                        places.append(_Place(folder, shard["file"], offset))
                offset += len(line)
    return places


def _check_card(given: dict[str, object], card: ModelCard, folder: Path) -> None:
    differ = [name for name in _SHOWN if given.get(name) != getattr(card, name)]
    if differ:
        said = ", ".join(f"{name} {given.get(name)} and not {getattr(card, name)}" for name in differ)
        raise WrongInput(f"The set {folder} was written for another model: {said}; build it with another --card.")


def _show_again(record: Record, folder: Path, card: ModelCard) -> Lesson | None:
    """The conversation of a record; None where it does not end as it did."""
    case, _ = open_task(record, folder)
    given = record.card or {}
    tools = tuple(given.get("tools", ()))
    model = ScriptedModel(list_replies(record), card)
    name = given.get("segmenter")
    segmenter = _load_segmenter(str(name)) if name and SEGMENTING & set(tools) else None
    limits = Limits(max_turns=int(given.get("max_turns", 8)))
    setup = build_setup(case, model, segmenter, SetupOptions(tools=tools or "none", limits=limits))
    outcome = collect_episode(case, model, setup, session="set")
    if outcome.stop is not StopReason.ANSWERED:
        return None
    said = [turn for turn in record.turns if turn.role == "assistant"]
    return Lesson(outcome.messages, frozenset(at for at, turn in enumerate(said) if not turn.learned))


@lru_cache(maxsize=1)
def _load_segmenter(name: str) -> Segmenter:
    return build_segmenter(name)
