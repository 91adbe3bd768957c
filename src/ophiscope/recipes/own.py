"""Recipes for models and data of one's own: questions from a file, conversations from traces; drawn ones where none."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from ophiscope.agent.assemble import SetupOptions, build_model, build_segmenter, build_setup
from ophiscope.agent.limits import Limits
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.data.tasks_file import open_task, read_tasks
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.models.local.engine import LocalModel
from ophiscope.recipes.lessons import teach_by_oracles, teach_by_traces, teach_reflection
from ophiscope.recipes.tasks import build_draw as build_drawn
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.tools.segmenting import SEGMENTING
from ophiscope.train.judge import Judge
from ophiscope.train.rollouts import RolloutTask
from ophiscope.train.run_config import RunConfig
from ophiscope.train.supervise import Teach

__all__ = ["OwnRunConfig", "build_draw", "build_teach"]

_FIRST_SEED = 4_000_000_000
"""Of drawn questions; apart from those of nano."""
_TRIES = 100
"""So many rows in a row that cannot be opened end the run."""


class OwnRunConfig(RunConfig):
    """Config of ``ophiuchus_7b`` and ``medscope_7b``."""

    family: Literal["qwen2_5_vl", "qwen3_vl"]
    """Of the checkpoint; a dry run takes a tiny one of the same class."""
    tasks: str = ""
    """File of questions with their truth (docs/train.md), for rewards."""
    traces: tuple[str, ...] = ()
    """Folders of recorded episodes, or patterns of folders, for supervised stages."""
    drawn: tuple[str, ...] = ()
    """Names of drawn questions (``ophiscope.env.list_names``), where no file or trace is given."""
    tools: str = "all"
    segmenter: str = "nano-seg"
    max_turns: int = 6
    max_reply_tokens: int = 1024
    judge: str = ""
    """A model (as ``ask --model`` takes it) that judges free answers which no rule finds right; it is sent question and
    answers, no pictures."""


def build_teach(config: OwnRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Teach:
    """The conversations of a supervised stage."""
    card = model.card
    if config.traces:
        return teach_by_traces(config.traces, coords=card.coords, seed=config.seed)
    _check_drawn(config)
    tell(f"no traces are given: conversations about drawn questions ({', '.join(config.drawn)})")
    first_seed = _FIRST_SEED + config.seed * 1_000_000
    make = teach_reflection if config.stage == "reflect" else teach_by_oracles
    return make(config.drawn, card, first_seed=first_seed)


def build_draw(config: OwnRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Callable[[int], RolloutTask]:
    """The question of a number: rows of the file, each once an epoch, or drawn ones."""
    if not config.tasks:
        return _build_drawn(config, model, tell)
    found = read_tasks(Path(config.tasks))
    tell(f"{config.tasks}: {found.describe()}")
    refused: set[int] = set()
    judge = Judge(build_model(config.judge), tell) if config.judge else None

    def open_row(number: int) -> RolloutTask:
        for turn in range(_TRIES):
            epoch, place = divmod(number + turn, len(found.rows))
            row = int(np.random.default_rng([config.seed, epoch]).permutation(len(found.rows))[place])
            if row in refused:
                continue
            try:
                case, key = open_task(found.rows[row], found.folder)
                setup = replace(_build_setup(config, model, case), temperature=config.rl.temperature)
                return RolloutTask(case, key, setup, judge)
            except OphiscopeError as error:
                refused.add(row)
                tell(f"row {row + 1} is left out: {error} ({len(refused)} of {len(found.rows)} so far)")
        raise WrongInput(f"{_TRIES} rows of {config.tasks} in a row cannot be opened.")

    return open_row


def _build_setup(config: OwnRunConfig, model: LocalModel, case: Case) -> Setup:
    options = SetupOptions(
        tools=config.tools, limits=Limits(max_turns=config.max_turns, max_reply_tokens=config.max_reply_tokens)
    )
    setup = build_setup(case, model, None, options)
    if SEGMENTING & {tool.name for tool in setup.tools}:
        setup = build_setup(case, model, _load_segmenter(config.segmenter), options)
    return setup


@lru_cache(maxsize=1)
def _load_segmenter(name: str) -> Segmenter:
    return build_segmenter(name)


def _build_drawn(config: OwnRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Callable[[int], RolloutTask]:
    _check_drawn(config)
    tell(f"no tasks are given: drawn questions ({', '.join(config.drawn)})")
    draw = build_drawn(model.card)

    def open_drawn(number: int) -> RolloutTask:
        task = draw(config.drawn[number % len(config.drawn)], _FIRST_SEED + number)
        limits = task.setup.limits.model_copy(
            update={"max_turns": config.max_turns, "max_reply_tokens": config.max_reply_tokens}
        )
        return replace(task, setup=replace(task.setup, temperature=config.rl.temperature, limits=limits))

    return open_drawn


def _check_drawn(config: OwnRunConfig) -> None:
    if not config.drawn:
        raise WrongInput("Nothing to learn from: give tasks=FILE, traces=['FOLDER'] or drawn=['phantom-image/L1'].")
