"""Phantom questions, twins of worlds that differ only in what is hidden, and oracle runs, for the tests of worlds."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.limits import Limits
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.prompt import read_prompt
from ophiscope.agent.setup import Setup
from ophiscope.core.chat import ModelCard
from ophiscope.core.frame import Frame
from ophiscope.core.framing import ViewPolicy, compute_overview_frame, compute_zoom_frame
from ophiscope.core.message import Message, Role
from ophiscope.core.region import clip_box
from ophiscope.core.window import Window
from ophiscope.media.render import render_picture
from ophiscope.protocol.coords import PROFILES
from ophiscope.tools.build import build_tools
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight
from ophiscope.worlds.asks import Posed, pose_question
from ophiscope.worlds.draw import Needle, Recipe, draw_world
from ophiscope.worlds.oracle import build_oracle
from ophiscope.worlds.percepts import Seen, compute_seen
from ophiscope.worlds.study import build_lazy_phantom
from ophiscope.worlds.world import Detail, Lesion, Margin, Pattern, World

POLICY = ViewPolicy(patch_px=16, max_view_px=96 * 96, min_view_px=96 * 96)
CARD = ModelCard(
    name="nano", family="nano", coords="relative_1000", patch_px=16, max_view_px=96 * 96, min_view_px=96 * 96,
    prompt="nano", token_exact=True,
)  # fmt: skip
HIDING = (Needle.L1, Needle.L2, Needle.L3, Needle.W)


class EllipseSegmenter:
    """Takes the ellipse in the box for the target: right for the boxes of an oracle, and without weights."""

    name = "ellipse"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = None
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: np.ndarray,
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        h, w = picture_H_W_3.shape[:2]
        x0, y0, x1, y1 = box_xyxy or (0.0, 0.0, float(w), float(h))
        u = (np.arange(w) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
        v = (np.arange(h) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
        return Prediction((u[None, :] ** 2 + v[:, None] ** 2 < 1).astype(np.float32), 0.9, 1.0)


class Task(NamedTuple):
    world: World
    posed: Posed


class Ran(NamedTuple):
    world: World
    posed: Posed
    outcome: Outcome


def draw_task(seed: int, needle: Needle) -> Task:
    """A world and a question about it; the same as the training of nano draws from this seed."""
    world = draw_world(seed, Recipe(needle))
    rng = np.random.default_rng([seed, 17])
    return Task(world, pose_question(rng, world, build_lazy_phantom(world), needle))


def run_oracle(task: Task) -> Ran:
    """The oracle's trajectory, by the real loop with real tools."""
    case = task.posed.case
    setup = Setup(
        card=CARD,
        profile=PROFILES[CARD.coords],
        prompt=read_prompt(CARD.prompt),
        tools=build_tools("all", case),
        segmenter=EllipseSegmenter(),
        policy=POLICY,
        limits=Limits(),
    )
    return Ran(*task, collect_episode(case, build_oracle(task.world, task.posed.ask, CARD), setup, session="oracle"))


@lru_cache(maxsize=1024)
def run_seed(seed: int, needle: Needle) -> Ran:
    """:func:`run_oracle` on :func:`draw_task`, kept for every test of a process."""
    return run_oracle(draw_task(seed, needle))


def change_answer(lesion: Lesion) -> Lesion:
    """The same lesion with another answer; nothing else of it changes."""
    if lesion.detail is Detail.PATTERN:
        patterns = tuple(Pattern)
        return replace(lesion, pattern=patterns[(patterns.index(lesion.pattern) + 1) % len(patterns)])
    if lesion.detail is Detail.MARGIN:
        other = Margin.HAZY if lesion.margin is Margin.SPICULATED else Margin.SPICULATED
        return replace(lesion, margin=other)
    count = lesion.calcifications % 4 + 1
    places = ((-0.45, -0.4), (0.45, -0.4), (-0.45, 0.45), (0.45, 0.45))
    return replace(lesion, calcifications=count, dots_xy=places[:count])


def build_twin(world: World) -> World:
    """The same world in which every lesion has another answer, and every cyst is a striped lesion."""
    lesions = tuple(change_answer(lesion) for lesion in world.lesions)
    return replace(world, lesions=lesions + tuple(fill_cyst(cyst) for cyst in world.cysts), cysts=())


def fill_cyst(cyst: Lesion) -> Lesion:
    """The lesion that a cyst is taken for: alike from afar, with stripes instead of a core."""
    stripes = {"pattern": Pattern.STRIPED, "fine_px": min(cyst.blob.radii_xy) / 4, "dots_xy": ()}
    return replace(cyst, detail=Detail.PATTERN, amplitude=-cyst.amplitude / 1.6 * 0.75, **stripes)


def build_overview(world: World) -> Frame:
    return compute_overview_frame(Frame("phantom", world.size_wh), POLICY)


def build_zoom(world: World, box_xyxy: tuple[float, float, float, float]) -> Frame:
    root = Frame("phantom", world.size_wh)
    return compute_zoom_frame(root, clip_box(root, box_xyxy).box, POLICY)


def show(world: World, frame: Frame, window: Window | None = None) -> NDArray[np.int16]:
    """Grey levels or colours as a model would see them, signed so that they can be subtracted."""
    study = build_lazy_phantom(world)
    placed = replace(frame, root=study.header.root)
    return render_picture(study, placed, window=window).pixels_H_W_3.astype(np.int16)


def see(world: World, message: Message) -> tuple[Seen, ...]:
    """Percepts of the views of one message."""
    return tuple(compute_seen(world, view.picture.frame, view.picture.window) for view in message.views)


def list_turns(messages: tuple[Message, ...]) -> Iterator[tuple[tuple[Message, ...], Message]]:
    """What was shown before each assistant turn, and the turn."""
    for index, message in enumerate(messages):
        if message.role is Role.ASSISTANT:
            yield messages[:index], message
