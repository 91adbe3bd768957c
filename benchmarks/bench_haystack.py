"""A few seconds of a real operation in an hour of other real footage: found again through the tools?

Run: ``python benchmarks/bench_haystack.py --data ../shared/data/video --n 20`` (``--model nano-video`` asks it too)

A clip of an eye operation, or of a laparoscopy, is spliced at a seeded time into 30 to 60 minutes made of the other
clip and of stills of four other operations, which are panned over. The result is real H.264 in a real file, asked about
through the reader and tools that serve users. The finder is a script that knows the clip by example: it compares what
it is shown with nine frames of it, sweeps the recording window by window, and goes closer where something is alike.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ophiscope.agent.assemble import SetupOptions, build_model, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.limits import Limits
from ophiscope.core.action import Call
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.media.study import read_study
from ophiscope.metrics.overlap import compute_interval_overlap
from ophiscope.metrics.stats import compute_bootstrap, compute_wilson
from ophiscope.protocol.grammar import render_answer, render_call

SIZE_WH, FPS = (320, 180), 10
CARD = ModelCard(
    name="finder",
    family="script",
    coords="relative_1000",
    patch_px=16,
    max_view_px=SIZE_WH[0] * SIZE_WH[1],
    min_view_px=96 * 48,
    prompt="qwen",
    token_exact=False,
    most_frames=128,
    frame_px=96 * 48,
)
ALIKE = 0.8
CLOSE_S = 0.3
QUESTION = "When is the scene of the example shown?"
NEEDLES = ("cataract_4s.mp4", "laparoscopy_10s.mp4")


class Hidden(NamedTuple):
    """A recording and where the clip lies in it."""

    path: Path
    start_s: float
    end_s: float
    duration_s: float


def read_clip(path: Path) -> list[NDArray[np.uint8]]:
    """The frames of a clip at ten a second, small."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = round(float(stream.average_rate or 25) / FPS)
        frames = [frame for index, frame in enumerate(container.decode(stream)) if index % max(1, step) == 0]
        return [frame.reformat(*SIZE_WH, format="rgb24").to_ndarray() for frame in frames]


def play_hay(
    rng: np.random.Generator, stills: Sequence[Path], clip: Sequence[NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Endless other footage: panned stills, and now and then the other clip from some frame on."""
    w, h = SIZE_WH
    while True:
        if rng.random() < 0.2:
            start = int(rng.integers(len(clip)))
            yield from clip[start:]
            continue
        wide = Image.open(stills[int(rng.integers(len(stills)))]).convert("RGB").resize((w * 5 // 4, h * 5 // 4))
        picture, length = np.asarray(wide, np.uint8), int(rng.integers(80, 300))
        (x0, x1), (y0, y1) = rng.integers(0, w // 4, 2), rng.integers(0, h // 4, 2)
        for share in np.linspace(0, 1, length):
            x, y = round(x0 + share * (x1 - x0)), round(y0 + share * (y1 - y0))
            yield picture[y : y + h, x : x + w]


def hide(seed: int, data: Path, folder: Path) -> tuple[Hidden, list[NDArray[np.uint8]]]:
    """The recording of a seed, and the frames of its needle."""
    rng = np.random.default_rng([seed, 9])
    needle, other = (read_clip(data / name) for name in (NEEDLES if seed % 2 == 0 else NEEDLES[::-1]))
    stills = sorted((data / "laparoscopy_frames").rglob("*.jpg"))
    count = int(rng.uniform(1800, 3600) * FPS)
    at = int(rng.integers(FPS, count - len(needle) - FPS))
    hay, path = play_hay(rng, stills, other), folder / f"{seed}.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *SIZE_WH, "yuv420p", 50
        stream.options = {"preset": "ultrafast", "crf": "26", "threads": "1"}
        for number in range(count):
            picture = needle[number - at] if at <= number < at + len(needle) else next(hay)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Hidden(path, at / FPS, (at + len(needle)) / FPS, count / FPS), needle


def describe(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A picture as 16x9 colours of mean 0 and length 1."""
    small = np.asarray(Image.fromarray(picture).resize((16, 9), Image.Resampling.BOX), np.float64).reshape(-1)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-9)


class Finder:
    """A :class:`~ophiscope.core.chat.ChatModel` that looks for what is like an example."""

    def __init__(self, needle: Sequence[NDArray[np.uint8]], duration_s: float) -> None:
        chosen = np.linspace(0, len(needle) - 1, 9).round().astype(int)
        self._example = np.stack([describe(needle[index]) for index in chosen])
        self._duration_s, self._window_s = duration_s, CARD.most_frames * 3.0

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return CARD

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [Reply(self._reply(request.messages), FinishReason.STOP) for request in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""

    def _reply(self, messages: Sequence[Message]) -> str:
        seen: dict[float, bool] = {}
        for message in messages:
            for view in message.views:
                place = view.picture.place
                if place is not None and place.time_s is not None:
                    likeness = float((self._example @ describe(view.picture.pixels_H_W_3)).max())
                    seen[place.time_s] = seen.get(place.time_s, False) or likeness > ALIKE
        times = sorted(seen)
        alike = [time_s for time_s in times if seen[time_s]]
        swept = sum(message.role is Role.TOOL for message in messages)
        if not alike:
            start_s = swept * self._window_s
            if start_s >= self._duration_s:
                return render_answer("cannot tell", think="Nothing is like it.")
            window = {"start_s": start_s, "end_s": min(start_s + self._window_s, self._duration_s)}
            return render_call(Call("crop_video", window, think="On to the next window."))
        before = max((time_s for time_s in times if time_s < alike[0]), default=0.0)
        after = min((time_s for time_s in times if time_s > alike[-1]), default=self._duration_s)
        for start_s, end_s in ((before, alike[0]), (alike[-1], after)):
            if end_s - start_s > CLOSE_S:
                edge = {"start_s": start_s, "end_s": min(end_s + 1 / FPS, self._duration_s)}
                return render_call(Call("crop_video", edge, think="Closer to where it begins or ends."))
        evidence = json.loads(messages[-1].text.rstrip().splitlines()[-1]).get("evidence")
        cite = f" [{evidence}]" if evidence else ""  # none where the overview told it all
        return render_answer(
            f"interval {alike[0]:g}-{after:g} s{cite}", think="From the first to the first without it."
        )


def ask(model: ChatModel, hidden: Hidden) -> tuple[float, int]:
    """IoU of what a model answers, and how many turns it took."""
    case = Case((read_study(hidden.path),), QUESTION)
    setup = build_setup(case, model, None, SetupOptions(tools=("crop_video", "get_frame"), limits=Limits(max_turns=24)))
    outcome = collect_episode(case, model, setup, session=hidden.path.stem)
    said = outcome.result.interval_s if outcome.result is not None else None
    return compute_interval_overlap(said, [(hidden.start_s, hidden.end_s)]).iou or 0.0, outcome.turns


def main() -> None:
    """Hide, ask, print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--model", default=None, help="a model that is asked as well, as ask --model takes it")
    args = parser.parse_args()
    found: dict[str, list[tuple[float, int]]] = {"script": []} | ({args.model: []} if args.model else {})
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.n):
            hidden, needle = hide(seed, args.data, Path(folder))
            found["script"].append(ask(Finder(needle, hidden.duration_s), hidden))
            if args.model:
                found[args.model].append(ask(build_model(args.model), hidden))
            hidden.path.unlink()
            last = {name: (round(items[-1][0], 3), items[-1][1]) for name, items in found.items()}
            print(
                json.dumps({"seed": seed, "minutes": round(hidden.duration_s / 60, 1), "iou, turns": last}), flush=True
            )
    for name, items in found.items():
        ious = [iou for iou, _ in items]
        hits = sum(iou >= 0.5 for iou in ious)
        low, high = compute_wilson(hits, len(ious))
        mean = compute_bootstrap(np.asarray(ious), np.random.default_rng(0))
        print(
            f"{name}: R@.5 {hits}/{len(ious)} ({low:.1%} to {high:.1%}), mIoU {mean.value:.3f} ({mean.low:.3f} to "
            f"{mean.high:.3f}), {np.mean([turns for _, turns in items]):.1f} turns"
        )


if __name__ == "__main__":
    main()
