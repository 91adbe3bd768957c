"""What the certificate's networks are shown: overviews, questions, what is open in them and where; and the answers."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.frame import Frame
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.eval.phantoms import Phantom, draw_phantom
from ophiscope.media.render import render_picture
from ophiscope.recipes.nano.tasks import CARD, Kind
from ophiscope.worlds.asks import Ask, AskKind
from ophiscope.worlds.domain import Domain
from ophiscope.worlds.percepts import Seen, compute_seen
from ophiscope.worlds.world import Detail, Margin, Pattern

__all__ = ["ANSWERS", "CANVAS_HW", "KINDS", "MOST_PLACES", "WORDS", "Samples", "compute_words", "draw_samples"]

CANVAS_HW = (96, 112)
"""Holds every overview of the worlds; smaller ones lie in its middle."""
_FIRST_SEED = 30_000_000
_STRIDE = 1_000_000
KINDS = ("L1", "L2", "L3", "W")
_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
_COUNTS = ("0", "1", "2", "3", "4")
ANSWERS = (*(p.value for p in Pattern), *(m.value for m in Margin), *_COUNTS, "yes", "no", "cannot tell", *_QUADRANTS)
"""Everything that a needle question can have for an answer."""
_ORGANS = ("spleen", "right kidney", "left kidney", "heart", "liver", "right lung", "left lung", "brain", "spine")
_SELECTORS = ("larger", "smaller", "left", "right", "upper", "lower")
_VALUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kind", tuple(kind.value for kind in AskKind)),
    ("detail", tuple(detail.value for detail in Detail)),
    ("wanted", ANSWERS),
    ("organ", _ORGANS),
    ("selector", _SELECTORS),
)
WORDS = sum(len(values) for _, values in _VALUES)
MOST_PLACES = 4
_DRAWN_AT_ONCE = 500


class Samples(NamedTuple):
    """Drawn samples; ``N`` of them."""

    pictures_N_H_W: NDArray[np.uint8]
    words_N_F: NDArray[np.uint8]
    answers_N: NDArray[np.uint8]
    """Index into :data:`ANSWERS`."""
    asked_N: NDArray[np.uint32]
    """Which questions are the same to a reader who sees nothing."""
    open_N: NDArray[np.uint32]
    """Which are the same to one who sees what the overview shows openly."""
    places_N_K_2: NDArray[np.float32]
    """Where the spots of the asked organ (or all) have their middles, x and y in pixels of the canvas; -1 for none."""

    @property
    def shown_N(self) -> NDArray[np.int64]:
        """``open_N`` as places in the list of what occurs."""
        return np.unique(self.open_N, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Store:
    folder: Path
    n: int

    def open(self) -> Samples:
        """The files, made where they are missing, and mapped to memory."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Samples(
            self._map("pictures", np.uint8, CANVAS_HW),
            self._map("words", np.uint8, (WORDS,)),
            self._map("answers", np.uint8, ()),
            self._map("asked", np.uint32, ()),
            self._map("open", np.uint32, ()),
            self._map("places", np.float32, (MOST_PLACES, 2)),
        )

    def _map(self, name: str, kind: type, shape: tuple[int, ...]) -> Any:
        path = self.folder / f"{name}.{self.n}.raw"
        return np.memmap(path, kind, "r+" if path.exists() else "w+", shape=(self.n, *shape))

    @property
    def done(self) -> int:
        """Samples drawn so far."""
        path = self.folder / f"done.{self.n}.json"
        return int(json.loads(path.read_text("utf-8"))) if path.exists() else 0

    def note(self, done: int) -> None:
        """Say how many are drawn."""
        (self.folder / f"done.{self.n}.json").write_text(json.dumps(done), "utf-8")


def draw_samples(folder: Path, kind: Kind, n: int, *, fineness: float = 1.0) -> Samples:
    """Draw ``n`` samples, or what is missing of them; sample ``i`` is a function of kind, fineness and ``i``."""
    store = _Store(folder, n)
    samples = store.open()
    first_seed = _FIRST_SEED + KINDS.index(kind) * _STRIDE
    for start in range(store.done, n, _DRAWN_AT_ONCE):
        stop = min(start + _DRAWN_AT_ONCE, n)
        for index in range(start, stop):
            _draw_into(
                samples, index, draw_phantom(first_seed + index, kind, domain=Domain(fineness=fineness), whole=False)
            )
        for part in samples:
            cast("np.memmap[Any, Any]", part).flush()
        store.note(stop)
        if stop % (10 * _DRAWN_AT_ONCE) == 0 or stop == n:
            print(json.dumps({"kind": kind, "fineness": fineness, "drawn": stop, "of": n}), flush=True)
    return samples


def _draw_into(samples: Samples, index: int, phantom: Phantom) -> None:
    study = phantom.case.studies[0]
    frame = compute_overview_frame(study.frame, ViewPolicy(CARD.patch_px, CARD.max_view_px, CARD.min_view_px))
    picture = render_picture(study, frame)
    # a phantom's colour is a function of one level, so that one channel holds all of it
    grey = picture.pixels_H_W_3[:, :, 0]
    top, left = ((whole - side) // 2 for whole, side in zip(CANVAS_HW, grey.shape, strict=True))
    samples.pictures_N_H_W[index, top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    samples.words_N_F[index] = compute_words(phantom.ask)
    samples.answers_N[index] = ANSWERS.index(phantom.key.text)
    samples.places_N_K_2[index] = _find_places(phantom, frame, (left, top))
    seen = compute_seen(phantom.world, frame, picture.window)
    samples.asked_N[index] = _hash(_describe_asked(phantom.ask))
    samples.open_N[index] = _hash(_describe_open(phantom.ask, seen))


def _find_places(phantom: Phantom, frame: Frame, shift_xy: tuple[int, int]) -> NDArray[np.float32]:
    places = np.full((MOST_PLACES, 2), -1.0, np.float32)
    spots = [spot for spot in phantom.world.spots if spot.organ == phantom.ask.organ] or list(phantom.world.spots)
    for row, spot in enumerate(spots[:MOST_PLACES]):
        places[row] = np.asarray(spot.blob.centre_xy) / frame.scale_xy + shift_xy
    return places


def compute_words(ask: Ask) -> NDArray[np.uint8]:
    """What is asked, one place for each value of each part of the question."""
    parts = {
        "kind": ask.kind.value, "detail": ask.detail.value if ask.detail else "", "wanted": ask.wanted,
        "organ": ask.organ, "selector": ask.selector,
    }  # fmt: skip
    return np.asarray([parts[name] == value for name, values in _VALUES for value in values], dtype=np.uint8)


def _describe_asked(ask: Ask) -> tuple[str, ...]:
    return ask.kind.value, ask.detail.value if ask.detail else "", ask.wanted


def _describe_open(ask: Ask, seen: Seen) -> tuple[str, ...]:
    """The words but for those that tell nothing more, and the number (or the quarters) of the lesions in sight."""
    detail = ask.detail.value if ask.detail else ""
    if ask.kind is AskKind.WHERE_WITH:
        w, h = seen.size_wh
        middles = [((a + c) / 2, (b + d) / 2) for a, b, c, d in (lesion.box_xyxy for lesion in seen.lesions)]
        return (ask.kind.value, *sorted(_QUADRANTS[(x >= w / 2) + 2 * (y >= h / 2)] for x, y in middles))
    if ask.kind in (AskKind.ANY_WITH, AskKind.COUNT_WITH):
        return ask.kind.value, detail, str(len(seen.lesions))
    return ask.kind.value, detail


def _hash(parts: Sequence[str]) -> int:
    return zlib.crc32("|".join(parts).encode())
