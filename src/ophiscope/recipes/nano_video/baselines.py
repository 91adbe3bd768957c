"""What finds the time of an event without deciding where to look: what nano on video has to be better than.

Each gives a stretch in seconds, or none, for a question of the kind "when".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ophiscope.agent.assemble import SetupOptions, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.metrics.overlap import compute_interval_overlap
from ophiscope.models.local.packing import pack_views
from ophiscope.models.local.vision import encode_images
from ophiscope.recipes.nano.state import read_sight
from ophiscope.recipes.nano_video.frames import LABELS
from ophiscope.recipes.nano_video.items import widen
from ophiscope.recipes.nano_video.pretrain_frames import FrameHead
from ophiscope.recipes.nano_video.shape import CARD, FRAME_WH, LAYOUT, VIDEO_SHAPE
from ophiscope.recipes.nano_video.tasks import LIMITS
from ophiscope.worlds.procedure import Instrument
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.procedure_render import render_frame
from ophiscope.worlds.tasks import VideoTask

__all__ = [
    "FrameClassifier",
    "Window",
    "classify_every_second",
    "find_prior_window",
    "read_gap",
    "search_by_classifier",
]

Window = tuple[float, float]
_STEPS = 40
_BATCH = 96
_AROUND_S = 4.0
"""Half of the stretch that is answered where no contact was seen; events last 3 to 9 s."""
_LOOKS, _LEVELS = 16, 6
_SIDE_S = 20.0
"""How much before and after a moment is compared to tell a lasting change there."""


def find_prior_window(tasks: Sequence[VideoTask]) -> Window:
    """The stretch, as shares of the recording, that has the greatest mean IoU with the truth of ``tasks``."""
    truths = [(_truth(task), task.procedure.duration_s) for task in tasks]
    edges = np.linspace(0, 1, _STEPS + 1)
    windows = [(float(a), float(b)) for i, a in enumerate(edges) for b in edges[i + 1 :]]

    def score(window: Window) -> float:
        return sum(compute_iou((window[0] * s, window[1] * s), true) for true, s in truths)

    return max(windows, key=score)


def compute_iou(said: Window | None, true: Window) -> float:
    """Of a stretch with the true one; 0 for none."""
    return compute_interval_overlap(said, [true]).iou or 0.0


def _truth(task: VideoTask) -> Window:
    assert task.key.evidence_interval is not None
    return task.key.evidence_interval.start, task.key.evidence_interval.end


def read_gap(task: VideoTask, frames: int) -> Window | None:
    """What an overview of so many frames tells to who sees as the oracle does: between which two the mark was made."""
    oracle = build_procedure_oracle(task.procedure, task.ask, widen(CARD, frames), calls=0)
    setup = build_setup(task.case, oracle, None, SetupOptions(tools="none", limits=LIMITS))
    result = collect_episode(task.case, oracle, setup, session="overview").result
    return None if result is None else result.interval_s


@dataclass(frozen=True, slots=True, eq=False)
class FrameClassifier:
    """The tower of nano on video with its read-out heads: what is in a frame, and nothing of time."""

    visual: Any
    head: FrameHead

    @classmethod
    def load(cls, visual: Any, frames_state: Path) -> "FrameClassifier":
        """With the heads of stage 1."""
        head = FrameHead(VIDEO_SHAPE.hidden)
        head.load_state_dict(read_sight(frames_state).heads)
        return cls(visual, head.eval())

    @torch.no_grad()
    def look(self, task: VideoTask, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each label in the frames at ``times_s``, that of its likeliest token; ``(times, labels)``."""
        (w, h), found = task.procedure.size_wh, []
        for first in range(0, len(times_s), _BATCH):
            pictures = [
                render_frame(task.procedure, float(time_s), (0.0, 0.0, float(w), float(h)), FRAME_WH)
                for time_s in times_s[first : first + _BATCH]
            ]
            packed = pack_views(pictures, LAYOUT)
            tokens = encode_images(self.visual, torch.from_numpy(packed.patches_N_P), packed.grids).tokens_M_D
            shares = self.head.present(tokens).sigmoid().view(len(pictures), -1, len(LABELS))
            found.append(shares.amax(1).double().numpy())
        return np.concatenate(found)


def classify_every_second(task: VideoTask, classifier: FrameClassifier) -> Window | None:
    """Every frame of every second is classified; the greatest lasting rise of the mark is the event."""
    times_s = np.arange(0.5, task.procedure.duration_s, 1.0)
    return _find_window(task, times_s, classifier.look(task, times_s))


def search_by_classifier(task: VideoTask, classifier: FrameClassifier) -> Window | None:
    """A script that looks at 16 frames, then at 16 within the greatest rise between two of them, and so on."""
    start_s, end_s = 0.0, task.procedure.duration_s
    for _ in range(_LEVELS):
        times_s = start_s + (np.arange(_LOOKS) + 0.5) * (end_s - start_s) / _LOOKS
        seen = classifier.look(task, times_s)
        if times_s[1] - times_s[0] <= 1.2:
            return _find_window(task, times_s, seen)
        mark = seen[:, LABELS.index(_name_action(task))]
        after = int(np.argmax(np.diff(mark))) + 1
        step_s = times_s[1] - times_s[0]
        start_s = max(0.0, float(times_s[after - 1]) - max(0.0, 8.0 - step_s))
        end_s = min(task.procedure.duration_s, float(times_s[after]) + max(0.0, 8.0 - step_s))
    return start_s, end_s


def _name_action(task: VideoTask) -> str:
    assert task.ask.action is not None
    return task.ask.action.value


def _find_window(task: VideoTask, times_s: NDArray[np.float64], seen: NDArray[np.float64]) -> Window | None:
    """Around the greatest lasting rise of the mark, as long as an instrument touches the tissue."""
    mark = seen[:, LABELS.index(_name_action(task))]
    step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 1.0
    side = max(1, round(_SIDE_S / step_s))
    sums = np.concatenate([[0.0], np.cumsum(mark)])

    def mean(first: int, last: int) -> float:
        first, last = max(0, first), min(len(mark), last)
        return float(sums[last] - sums[first]) / max(1, last - first)

    rises = [mean(index, index + side) - mean(index - side, index) for index in range(1, len(mark))]
    if not rises:
        return None
    turn = int(np.argmax(rises)) + 1
    tools = [LABELS.index(tool.value) for tool in Instrument if tool.value in LABELS]
    touched = seen[:, tools].max(1) > 0.5
    near = [i for i in range(len(times_s)) if touched[i] and abs(times_s[i] - times_s[turn]) <= _AROUND_S + step_s]
    if not near:
        return float(times_s[turn]) - _AROUND_S, float(times_s[turn]) + _AROUND_S
    first = last = min(near, key=lambda i: abs(times_s[i] - times_s[turn]))
    while first > 0 and touched[first - 1]:
        first -= 1
    while last + 1 < len(touched) and touched[last + 1]:
        last += 1
    return float(times_s[first]) - step_s / 2, float(times_s[last]) + step_s / 2
