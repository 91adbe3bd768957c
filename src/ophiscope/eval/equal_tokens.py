"""What a model does without tools when it sees as many pixels at once as tools would have shown it.

A run with tools shows an overview and then looks; a run without them shows the overview alone, and so loses twice.
These arms take the tools and give the pixels: one larger overview (more frames of a video), the picture cut into tiles
beside its overview, or the picture at its full resolution in one pass.

How many pixels are equal is read off the run with tools: ``visual_px`` of its records, on average.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ModelCard
from ophiscope.core.framing import ViewPolicy
from ophiscope.core.study import PixelSource, Study, StudyKind
from ophiscope.errors import WrongInput
from ophiscope.eval.arm import Arm, Prepared
from ophiscope.eval.items import EvalItem
from ophiscope.metrics.answers import Grade, GradeReason

__all__ = ["FORMS", "FULL", "build_overview", "build_tiles", "choose_equal", "cut_tiles", "parse_equal"]

FORMS = "overview-PX, tiles-CxR, full"
"""Names that :func:`parse_equal` takes: ``overview-40000``, ``tiles-3x2``."""
_NO_TOOLS = "none"
_MOST_TILES = 64
_NAMED = re.compile(r"overview-([1-9][0-9]{2,8})|tiles-([1-9][0-9]?)x([1-9][0-9]?)|(full)")


def parse_equal(name: str) -> Arm | None:
    """The arm of a name; None where it is none of :data:`FORMS`."""
    found = _NAMED.fullmatch(name)
    if found is None:
        return None
    px, columns, rows, _ = found.groups()
    if px is not None:
        return build_overview(int(px))
    return FULL if columns is None else build_tiles(int(columns), int(rows))


def choose_equal(visual_px: Sequence[int], card: ModelCard) -> Arm:
    """The arm that shows about as much as a run with tools did.

    Args:
        visual_px: Pixels that each episode of that run showed.
        card: Of the model; one that takes views of one size alone gets tiles, any other a larger overview.

    Returns:
        The overview of the mean, or the nearest grid of tiles: of ``k`` tiles a model sees ``k + 1`` views.

    Raises:
        ValueError: If no episode is given.
    """
    if not visual_px:
        raise ValueError("No episode was given; the mean of what was shown needs at least one.")
    mean_px = float(np.mean(visual_px))
    if not _is_fixed(card.min_view_px, card.max_view_px):
        return build_overview(round(mean_px))
    tiles = max(1, round(mean_px / card.max_view_px) - 1)
    columns = max(1, round(float(np.sqrt(tiles))))
    return build_tiles(columns, max(1, round(tiles / columns)))


def _is_fixed(min_view_px: int, max_view_px: int) -> bool:
    return min_view_px == max_view_px


def _check_free(setup: Setup, name: str) -> ViewPolicy:
    policy = setup.policy
    if _is_fixed(policy.min_view_px, policy.max_view_px):
        raise WrongInput(
            f"{setup.card.name} sees every picture at {policy.max_view_px} pixels, so that {name} cannot be shown; "
            "choose tiles-CxR."
        )
    return policy


def build_overview(visual_px: int) -> Arm:
    """One overview of about so many pixels, no tools; of a video or volume so many more frames or slices.

    A picture is made larger or smaller until it has them, up to the greatest view of the model's card. Of several
    studies each gets an equal share.
    """

    def prepare(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared:
        share = max(visual_px // len(item.case.studies), setup.policy.patch_px**2)
        stills = [study for study in item.case.studies if study.stack is None]
        policy = setup.policy
        if stills:
            _check_free(setup, f"overview-{visual_px}")
            px = min(share, setup.card.max_view_px)
            policy = replace(policy, max_view_px=px, min_view_px=px)
        if len(stills) < len(item.case.studies):
            policy = replace(policy, most_frames=max(1, share // setup.policy.of_frames.max_view_px))
        return Prepared(item, replace(setup, policy=policy))

    return Arm(
        f"overview-{visual_px}", f"no tools; one overview of about {visual_px} pixels", prepare, tools=_NO_TOOLS
    )  # fmt: skip


def _show_full(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
    if any(study.stack is not None for study in item.case.studies):
        return None
    policy = _check_free(setup, "the full resolution")
    least = min(policy.patch_px**2, policy.min_view_px)
    return Prepared(item, replace(setup, policy=replace(policy, max_view_px=setup.card.max_view_px, min_view_px=least)))


FULL = Arm(
    "full", "no tools; pictures at their full resolution, up to the greatest view of the model", _show_full,
    tools=_NO_TOOLS,
)  # fmt: skip
"""Leaves videos and volumes out; a picture beyond the greatest view is shown at that size."""


def build_tiles(columns: int, rows: int) -> Arm:
    """Beside each picture its tiles as studies of their own, no tools; leaves videos, volumes and slides out.

    A place that is said of a tile counts as said of another picture: tiles are to be looked at, answers name the whole.

    Raises:
        WrongInput: If there are no tiles or too many.
    """
    if columns * rows > _MOST_TILES or columns < 1 or rows < 1:
        raise WrongInput(f"tiles-{columns}x{rows} has {columns * rows} tiles; 1 to {_MOST_TILES} are accepted.")

    def prepare(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
        studies = item.case.studies
        if any(study.header.kind is not StudyKind.IMAGE or study.stack is not None for study in studies):
            return None
        if any(study.header.size_wh[0] < columns or study.header.size_wh[1] < rows for study in studies):
            return None
        tiles = [tile for study in studies for tile in cut_tiles(study, columns, rows)]
        case = Case((*studies, *tiles), item.case.question, item.case.options)
        names = frozenset(tile.header.study for tile in tiles)
        return Prepared(replace(item, case=case, judge=_JudgeWhole(item, names)), setup)

    about = f"no tools; the overview and {columns} x {rows} tiles"
    return Arm(f"tiles-{columns}x{rows}", about, prepare, tools=_NO_TOOLS)


@dataclass(frozen=True, slots=True, eq=False)
class _JudgeWhole:
    """As the item judges; a place in a tile is one in another picture."""

    item: EvalItem
    tiles: frozenset[str]

    def __call__(self, outcome: Outcome, key: AnswerKey) -> Grade:
        if outcome.result is not None and outcome.result.study in self.tiles:
            return Grade(False, 0.0, GradeReason.OTHER_IMAGE)
        return self.item.judge(outcome, key)


@dataclass(frozen=True, slots=True, eq=False)
class _TileSource:
    """A part of another picture; nothing is copied."""

    inner: PixelSource
    box: tuple[int, int, int, int]

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        x0, y0, x1, y1 = box_xyxy
        left, top, _, _ = self.box
        return self.inner.read((x0 + left, y0 + top, x1 + left, y1 + top), size_wh)

    def read_root(self) -> NDArray[np.generic]:
        left, top, right, bottom = self.box
        return np.ascontiguousarray(self.inner.read_root()[top:bottom, left:right])


def cut_tiles(study: Study, columns: int, rows: int) -> tuple[Study, ...]:
    """The tiles of a picture, row by row: every root pixel is in exactly one.

    They are named ``S1-1``, ``S1-2``, ..., show what their part of the picture shows, and have an id that tells which
    part that is.
    """
    w, h = study.header.size_wh
    xs = [round(index * w / columns) for index in range(columns + 1)]
    ys = [round(index * h / rows) for index in range(rows + 1)]
    tiles: list[Study] = []
    for top, bottom in pairwise(ys):
        for left, right in pairwise(xs):
            header = study.header.model_copy(
                update={
                    "study": f"{study.header.study}-{len(tiles) + 1}",
                    "root": f"{study.header.root}#tile={left},{top},{right},{bottom}",
                    "size_wh": (right - left, bottom - top),
                }
            )
            tiles.append(Study(header, _TileSource(study.source, (left, top, right, bottom)), place=study.place))
    return tuple(tiles)
