"""Is size the bottleneck? Networks of 2, 6 and 15 M parameters that do not look again, and one of 2 M that does.

Run: ``python -m ophiscope.recipes.nano_small.sizes --out runs/nano_small/sizes`` (about an hour; goes on).

Needles of kind L1, drawn with a structure 1 to 4 times as coarse. A network without tools reads what the overview shows
of the asked lesion; where that is, it is told, so that it need not search and its parameters are free for reading. The
one with a tool finds the lesion in the overview by itself and reads a zoom there. All see the same 18,000 samples in
the same order and are tested on the same 2,000; an overview is also shown larger, up to the zoom's own scale, to tell
parameters from pixels.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.core.frame import Frame
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.study import Study
from ophiscope.eval.phantoms import draw_phantom
from ophiscope.media.render import render_picture
from ophiscope.metrics.stats import compute_bootstrap
from ophiscope.recipes.nano.certificate_samples import ANSWERS, CANVAS_HW, WORDS, compute_words
from ophiscope.recipes.nano.tasks import CARD
from ophiscope.worlds.domain import Domain

__all__ = ["FINENESS", "SCALES", "main"]

FINENESS = (1.0, 1.5, 2.0, 3.0, 4.0)
SCALES = (1.0, 1.5, 2.0, 4.0)
"""Of the overview's sides; the last is that of the zoom."""
SIZES = {"2 M": 2_000_000, "6 M": 6_000_000, "15 M": 15_000_000}
_N, _TESTED = 20_000, 2_000
_FIRST_SEED = 45_000_000
_CROP = 24
"""Side of the square around a lesion, pixels of the overview."""
_CELL = 4
_EPOCHS, _BATCH, _LR = 3, 128, 1e-3
_OFF = 1.5
"""Standard deviation of a zoom's middle in training, pixels of the overview: the finder is not exact."""
_TOKEN_PX = 16


class _Drawn(NamedTuple):
    """Arrays of ``N`` samples."""

    overview: Any
    """``(N, 96, 112)`` levels."""
    words: Any
    answers: Any
    middles: Any
    """``(N, 2)`` of the asked lesion, pixels of the canvas."""
    crops: tuple[Any, ...]
    """By scale ``(N, side, side)``; the last around a middle that is off, as a finder's is."""


def draw(folder: Path, fineness: float, n: int) -> _Drawn:
    """Draw the samples of a fineness, or what is missing of them."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = [round(_CROP * scale) for scale in SCALES]
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "overview": (np.uint8, CANVAS_HW), "words": (np.uint8, (WORDS,)), "answers": (np.uint8, ()),
        "middles": (np.float32, (2,)),
    }  # fmt: skip
    shapes |= {f"crop{index}": (np.uint8, (side, side)) for index, side in enumerate(sides)}
    maps: dict[str, Any] = {}
    for name, (kind, shape) in shapes.items():
        path = folder / f"{name}.{n}.raw"
        maps[name] = np.memmap(path, kind, "r+" if path.exists() else "w+", shape=(n, *shape))
    done_path = folder / f"done.{n}.json"
    done = int(json.loads(done_path.read_text("utf-8"))) if done_path.exists() else 0
    for index in range(done, n):
        _draw_into(maps, index, fineness)
        if (index + 1) % 500 == 0 or index + 1 == n:
            for part in maps.values():
                part.flush()
            done_path.write_text(json.dumps(index + 1), "utf-8")
    crops = tuple(maps[f"crop{index}"] for index in range(len(sides)))
    return _Drawn(maps["overview"], maps["words"], maps["answers"], maps["middles"], crops)


def _draw_into(maps: dict[str, Any], index: int, fineness: float) -> None:
    phantom, study, frame, shift_xy = _open(index, fineness)
    grey = render_picture(study, frame).pixels_H_W_3[:, :, 0]
    left, top = shift_xy
    maps["overview"][index] = 0
    maps["overview"][index, top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    maps["words"][index] = compute_words(phantom.ask)
    maps["answers"][index] = ANSWERS.index(phantom.key.text)
    box = phantom.key.evidence_boxes[0].root_xyxy
    middle_root = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    x, y = (value / scale for value, scale in zip(middle_root, frame.scale_xy, strict=True))
    maps["middles"][index] = (x + left, y + top)
    rng = np.random.default_rng([index, 3])
    for place, scale in enumerate(SCALES):
        off = rng.normal(0, _OFF, 2) if place == len(SCALES) - 1 else (0.0, 0.0)
        maps[f"crop{place}"][index] = cut(study, frame, (x + off[0], y + off[1]), scale)


def _open(index: int, fineness: float) -> tuple[Any, Study, Frame, tuple[int, int]]:
    phantom = draw_phantom(_FIRST_SEED + index, "L1", domain=Domain(fineness=fineness), whole=False)
    study = phantom.case.studies[0]
    frame = compute_overview_frame(study.frame, ViewPolicy(CARD.patch_px, CARD.max_view_px, CARD.min_view_px))
    left, top = (CANVAS_HW[1] - frame.size_wh[0]) // 2, (CANVAS_HW[0] - frame.size_wh[1]) // 2
    return phantom, study, frame, (left, top)


def cut(study: Study, overview: Frame, middle_xy: tuple[float, float], scale: float) -> NDArray[np.uint8]:
    """A square around a place of the overview, shown so many times as large as the overview shows it."""
    side = round(_CROP * scale)
    (x, y), (sx, sy) = middle_xy, overview.scale_xy
    half = _CROP / 2
    box = ((x - half) * sx, (y - half) * sy, (x + half) * sx, (y + half) * sy)
    frame = study.frame.window(box, (side, side))
    return render_picture(study, frame).pixels_H_W_3[:, :, 0]


class Reader(nn.Module):
    """A square and the question to the answer; its size lies in two wide layers, so that all read alike fast.

    Args:
        parameters: About so many.
    """

    def __init__(self, parameters: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out, stride in ((1, 32, 1), (32, 48, 2), (48, 64, 2), (64, 96, 2)):
            layers += [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inner = 96 * 9 + WORDS
        fixed = sum(part.numel() for part in self.look.parameters())
        # width w of two layers: inner * w + w * w + w * answers = what is left
        linear = inner + len(ANSWERS)
        width = round((-linear + (linear**2 + 4 * (parameters - fixed)) ** 0.5) / 2)
        self.answer = nn.Sequential(
            nn.Linear(inner, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(ANSWERS))
        )

    def forward(self, crop_B_H_W: Tensor, words_B_F: Tensor) -> Tensor:
        """Logits ``(B, answers)``."""
        shown = crop_B_H_W[:, None].float() / 64.0
        seen = self.look(shown - shown.mean((2, 3), keepdim=True))
        logits: Tensor = self.answer(torch.cat((seen, words_B_F.float()), 1))
        return logits


class Finder(nn.Module):
    """Overview and question to the place that is asked about, as cells of four pixels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out, stride in ((1, 24, 2), (24, 48, 2), (48, 64, 1), (64, 64, 1)):
            layers += [nn.Conv2d(into, out, 5, stride, 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.look = nn.Sequential(*layers)
        self.spread = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64 * 6 * 7, 128), nn.ReLU())
        self.ask = nn.Linear(WORDS + 128, 64)
        self.place = nn.Parameter(torch.zeros(1, 64, CANVAS_HW[0] // _CELL, CANVAS_HW[1] // _CELL))
        self.say = nn.Conv2d(64, 1, 1)

    def forward(self, overview_B_H_W: Tensor, words_B_F: Tensor) -> Tensor:
        """Logits ``(B, cells)``."""
        seen = self.look(overview_B_H_W[:, None].float() / 127.5 - 1.0) + self.place
        asked = self.ask(torch.cat((self.spread(seen), words_B_F.float()), 1))
        logits: Tensor = self.say(torch.relu(seen + asked[:, :, None, None])).flatten(1)
        return logits

    @torch.no_grad()
    def find(self, overview_B_H_W: Tensor, words_B_F: Tensor) -> NDArray[np.float32]:
        """Middles ``(B, 2)`` in pixels of the canvas: the mean of the likeliest cell's surroundings."""
        columns = CANVAS_HW[1] // _CELL
        chances = self(overview_B_H_W, words_B_F).softmax(1).unflatten(1, (-1, columns))
        best = chances.flatten(1).argmax(1)
        row, column = best // columns, best % columns
        ys, xs = torch.arange(chances.shape[1])[:, None], torch.arange(columns)[None]
        near = ((ys - row[:, None, None]).abs() <= 1) & ((xs - column[:, None, None]).abs() <= 1)
        weight = chances * near
        weight = weight / weight.sum((1, 2), keepdim=True)
        x = (weight * (xs + 0.5)).sum((1, 2)) * _CELL
        y = (weight * (ys + 0.5)).sum((1, 2)) * _CELL
        return torch.stack([x, y], 1).numpy()


def train(net: nn.Module, inputs: Sequence[Any], targets: NDArray[np.int64], cut_at: int) -> nn.Module:
    """Train on the samples before ``cut_at``, in the same order for every network."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    optimizer = torch.optim.AdamW(net.parameters(), _LR, weight_decay=1e-2)
    steps = _EPOCHS * (cut_at // _BATCH)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(cut_at)[: cut_at // _BATCH * _BATCH] for _ in range(_EPOCHS)])
    net.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _LR * min(1.0, (step + 1) / 50) * (1 - step / steps)
        chosen = np.sort(order[step * _BATCH : (step + 1) * _BATCH])
        logits = net(*(torch.from_numpy(np.ascontiguousarray(part[chosen])) for part in inputs))
        loss = functional.cross_entropy(logits, torch.from_numpy(targets[chosen]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return net.eval()


@torch.no_grad()
def test(net: nn.Module, inputs: Sequence[Any], answers: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 where the answer is right."""
    right = []
    for start in range(0, len(answers), 500):
        parts = (torch.from_numpy(np.ascontiguousarray(part[start : start + 500])) for part in inputs)
        right.append((net(*parts).argmax(1).numpy() == answers[start : start + 500]).astype(np.float64))
    return np.concatenate(right)


def run_fineness(folder: Path, fineness: float, n: int, known: dict[str, Any]) -> None:
    """All networks of a fineness; what is known is left as it is."""
    drawn = draw(folder / f"{fineness:g}", fineness, n)
    cut_at = n - min(_TESTED, n // 5)
    answers = np.asarray(drawn.answers, dtype=np.int64)
    scales = SCALES if fineness == FINENESS[0] else SCALES[:1]
    plans = [(f"no tools, {name}", size, 0, False) for name, size in SIZES.items()]
    plans += [
        (f"no tools, 6 M, overview x {SCALES[place]:g}", SIZES["6 M"], place, False) for place in range(1, len(scales))
    ]
    plans += [("with zoom, 2 M", SIZES["2 M"], len(SCALES) - 1, True)]
    for name, size, place, looks in plans:
        key = f"{fineness:g} | {name}"
        if key in known:
            continue
        finder = Finder() if looks else None
        budget = size - (sum(part.numel() for part in finder.parameters()) if finder is not None else 0)
        reader = train(Reader(budget), (drawn.crops[place], drawn.words), answers, cut_at)
        shown: Any = drawn.crops[place][cut_at:]
        found = {}
        if finder is not None:
            cells = (drawn.middles // _CELL).astype(np.int64)
            columns, rows = CANVAS_HW[1] // _CELL, CANVAS_HW[0] // _CELL
            targets = cells[:, 1].clip(0, rows - 1) * columns + cells[:, 0].clip(0, columns - 1)
            train(finder, (drawn.overview, drawn.words), targets, cut_at)
            tested = (torch.from_numpy(np.ascontiguousarray(part[cut_at:])) for part in (drawn.overview, drawn.words))
            middles = finder.find(*tested)
            away = np.linalg.norm(middles - drawn.middles[cut_at:], axis=1)
            found = {"found within 4 px": float((away < 4).mean())}
            shown = np.stack([_zoom(cut_at + at, fineness, middle) for at, middle in enumerate(middles)])
        right = test(reader, (shown, drawn.words[cut_at:]), answers[cut_at:])
        rate = compute_bootstrap(right, np.random.default_rng(0))
        whole = sum(part.numel() for net in (reader, finder) if net is not None for part in net.parameters())
        overview = CANVAS_HW[0] * CANVAS_HW[1] / _TOKEN_PX**2
        tokens = overview * SCALES[place] ** 2 if not looks else overview + 36
        known[key] = {
            "right": [rate.value, rate.low, rate.high], "n": len(right), "parameters": whole, "tokens": round(tokens),
            **found,
        }  # fmt: skip
        print(json.dumps({key: known[key]}), flush=True)
        (folder / "found.json").write_text(json.dumps(known, indent=1), "utf-8")


def _zoom(index: int, fineness: float, middle_xy: NDArray[np.float32]) -> NDArray[np.uint8]:
    _, study, frame, (left, top) = _open(index, fineness)
    return cut(study, frame, (float(middle_xy[0]) - left, float(middle_xy[1]) - top), SCALES[-1])


def render_table(known: dict[str, Any]) -> str:
    """By network, right by fineness."""
    finenesses = sorted({float(key.split(" | ")[0]) for key in known})
    lines = ["| network | parameters | visual tokens | " + " | ".join(f"x {value:g}" for value in finenesses) + " |"]
    lines.append("|---" * (3 + len(finenesses)) + "|")
    for name in dict.fromkeys(key.split(" | ")[1] for key in known):
        cells = []
        for value in finenesses:
            entry = known.get(f"{value:g} | {name}")
            low_high = "" if entry is None else "{:.1f} ({:.1f}–{:.1f})".format(*(100 * x for x in entry["right"]))
            cells.append(low_high or "–")
        entry = next(entry for key, entry in known.items() if key.endswith(f"| {name}"))
        lines.append(f"| {name} | {entry['parameters'] / 1e6:.1f} M | {entry['tokens']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw, train, test, and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=_N)
    parser.add_argument("--fineness", type=float, nargs="*", default=list(FINENESS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "found.json"
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for fineness in args.fineness:
        run_fineness(args.out, fineness, args.n, known)
    print(render_table(known))


if __name__ == "__main__":
    main()
