"""The certificate of the worlds: what the overview gives away of a needle, found by a network trained on nothing else.

Run: ``python -m ophiscope.recipes.nano.certificate --out runs/nano/certificate --samples 100000``

(a) A supervised network sees the overview and the question and is told the answer; (b) another sees the question alone.
Both are held against constants: the best answer to the words, and the best answer to the words and to what the overview
shows openly (how many lesions, and in which quarters: of two candidates in two quarters, "where is the striped one" is
right half the time without a look). The first network is told what is open, so that it searches for what is hidden
instead of learning to count. (c) With ``--fineness`` the hidden structure grows until the overview shows it, so that a
network that finds nothing at 1 is seen to find it when there is something to be found.

Drawn samples are kept under ``--out``, and a run that was stopped goes on. A report is written for each kind and step.
"""

import argparse
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.media.render import render_picture
from ophiscope.metrics.stats import Estimate, compute_bootstrap, compute_paired_bootstrap
from ophiscope.recipes.nano.items import Phantom, draw_phantom
from ophiscope.recipes.nano.tasks import CARD, Domain, Kind
from ophiscope.worlds.asks import Ask, AskKind
from ophiscope.worlds.percepts import Seen, compute_seen
from ophiscope.worlds.world import Detail, Margin, Pattern

__all__ = ["ANSWERS", "CertificateReport", "OverviewNet", "QuestionNet", "Samples", "certify", "draw_samples", "main"]

_CANVAS_HW = (96, 112)
"""Holds every overview of the worlds; smaller ones lie in its middle."""
_FIRST_SEED = 30_000_000
_STRIDE = 1_000_000
_KINDS = ("L1", "L2", "L3", "W")
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
_WORDS = sum(len(values) for _, values in _VALUES)
_DRAWN_AT_ONCE = 500
_BATCH = 128
_HELD_OUT = 0.1
"""Share of the samples that is tested on: the last ones."""


class CertificateReport(BaseModel):
    """What one kind of needle gives away, in accuracy on held-out samples; triples are value, low and high (95 %)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    fineness: float
    trained_on: int
    tested_on: int
    epochs: int
    constant: float
    """The best answer to the words."""
    open_constant: float
    """The best answer to the words and to what the overview shows openly."""
    question: tuple[float, float, float]
    overview: tuple[float, float, float]
    question_gain: tuple[float, float, float]
    """Question-only network less the first constant."""
    overview_gain: tuple[float, float, float]
    """Overview network less the second constant; below .03 the needle is hidden."""


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
            self._map("pictures", np.uint8, _CANVAS_HW),
            self._map("words", np.uint8, (_WORDS,)),
            self._map("answers", np.uint8, ()),
            self._map("asked", np.uint32, ()),
            self._map("open", np.uint32, ()),
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
    first_seed = _FIRST_SEED + _KINDS.index(kind) * _STRIDE
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
    top, left = ((whole - side) // 2 for whole, side in zip(_CANVAS_HW, grey.shape, strict=True))
    samples.pictures_N_H_W[index, top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    samples.words_N_F[index] = compute_words(phantom.ask)
    samples.answers_N[index] = ANSWERS.index(phantom.key.text)
    seen = compute_seen(phantom.world, frame, picture.window)
    samples.asked_N[index] = _hash(_describe_asked(phantom.ask))
    samples.open_N[index] = _hash(_describe_open(phantom.ask, seen))


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


class OverviewNet(nn.Module):
    """Overview, question and what is open to answer: convolutions, and attention that the latter two direct."""

    def __init__(self, shown: int, *, width: int = 24, inner: int = 64) -> None:
        super().__init__()
        wide = 4 * width
        steps = ((1, width, 2), (width, width, 1), (width, 2 * width, 2), (2 * width, wide, 2), (wide, wide, 2))
        layers: list[nn.Module] = []
        for into, out, stride in steps:
            layers += [nn.Conv2d(into, out, 5 if into == 1 else 3, stride, 2 if into == 1 else 1, bias=False)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()]
        # channels last: a step of 128 takes .72 s instead of .93 s on one core
        self.look = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.place = nn.Parameter(torch.zeros(1, wide, _CANVAS_HW[0] // 16, _CANVAS_HW[1] // 16))
        self.read = nn.Sequential(nn.Linear(_WORDS, inner), nn.ReLU())
        self.told = nn.Embedding(shown, inner)
        self.query, self.key = nn.Linear(inner, inner), nn.Linear(wide, inner)
        self.answer = nn.Sequential(nn.Linear(2 * wide + inner, 128), nn.ReLU(), nn.Linear(128, len(ANSWERS)))

    def forward(self, pictures_B_H_W: Tensor, words_B_F: Tensor, shown_B: Tensor) -> Tensor:
        """Logits ``(B, answers)`` of uint8 pictures, words, and places in the list of what can be shown openly."""
        seen = self.look(pictures_B_H_W[:, None].float() / 127.5 - 1.0)
        seen_B_P_C = (seen + self.place).flatten(2).transpose(1, 2)
        asked = self.read(words_B_F.float()) + self.told(shown_B)
        scores = (self.key(seen_B_P_C) @ self.query(asked)[:, :, None]).squeeze(2) / 8.0
        found = (scores.softmax(1)[:, :, None] * seen_B_P_C).sum(1)
        logits: Tensor = self.answer(torch.cat((found, seen_B_P_C.mean(1), asked), 1))
        return logits


class QuestionNet(nn.Module):
    """Question to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Sequential(nn.Linear(_WORDS, 128), nn.ReLU(), nn.Linear(128, len(ANSWERS)))

    def forward(self, pictures_B_H_W: Tensor, words_B_F: Tensor, shown_B: Tensor) -> Tensor:
        """Logits ``(B, answers)``; the pictures are not looked at, nor what is open in them."""
        logits: Tensor = self.answer(words_B_F.float())
        return logits


def certify(folder: Path, kind: Kind, n: int, *, fineness: float = 1.0, epochs: int = 3) -> CertificateReport:
    """Draw, train both networks, and compare them with the constants on the last tenth of the samples."""
    samples = draw_samples(folder, kind, n, fineness=fineness)
    shown = int(samples.shown_N.max()) + 1
    cut = n - max(1, round(n * _HELD_OUT))
    test = range(cut, n)
    right = {
        name: _test(_train(folder / f"{name}.{n}.pt", net, samples, cut=cut, epochs=epochs), samples, test)
        for name, net in (("question", QuestionNet()), ("overview", OverviewNet(shown)))
    }
    constant = _test_constant(samples.asked_N, samples.answers_N, cut)
    open_constant = _test_constant(samples.open_N, samples.answers_N, cut)
    rng = np.random.default_rng(0)
    return CertificateReport(
        kind=kind,
        fineness=fineness,
        trained_on=cut,
        tested_on=n - cut,
        epochs=epochs,
        constant=float(constant.mean()),
        open_constant=float(open_constant.mean()),
        question=_triple(compute_bootstrap(right["question"], rng)),
        overview=_triple(compute_bootstrap(right["overview"], rng)),
        question_gain=_triple(compute_paired_bootstrap(right["question"], constant, rng)),
        overview_gain=_triple(compute_paired_bootstrap(right["overview"], open_constant, rng)),
    )


def _triple(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _train(path: Path, net: nn.Module, samples: Samples, *, cut: int, epochs: int) -> nn.Module:
    """Train on the samples before ``cut``; after each epoch the state is kept, from which a later call goes on."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            module.reset_parameters()
    steps = epochs * -(-cut // _BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    parts: dict[str, Any] = {"net": net, "optimizer": optimizer, "schedule": schedule}
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        start = int(state.pop("epoch")) if state.pop("epochs") == epochs else 0
        if start:
            for name, part in parts.items():
                part.load_state_dict(state[name])
    for epoch in range(start, epochs):
        net.train()
        order = np.random.default_rng([epoch, 3]).permutation(cut)
        losses = [_step(net, optimizer, batch) for batch in _list_batches(samples, order, after=schedule)]
        print(json.dumps({"run": path.stem, "epoch": epoch + 1, "loss": round(float(np.mean(losses)), 4)}), flush=True)
        torch.save({"epoch": epoch + 1, "epochs": epochs, **{k: part.state_dict() for k, part in parts.items()}}, path)
    return net.eval()


class _Batch(NamedTuple):
    pictures: Tensor
    words: Tensor
    shown: Tensor
    answers: Tensor


def _list_batches(
    samples: Samples, order: NDArray[np.int64], *, after: torch.optim.lr_scheduler.LRScheduler | None = None
) -> Iterator[_Batch]:
    shown_N = samples.shown_N
    for first in range(0, len(order), _BATCH):
        index = np.sort(order[first : first + _BATCH])
        yield _Batch(
            torch.from_numpy(samples.pictures_N_H_W[index]),
            torch.from_numpy(samples.words_N_F[index]),
            torch.from_numpy(shown_N[index]),
            torch.from_numpy(samples.answers_N[index].astype(np.int64)),
        )
        if after is not None:
            after.step()


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, batch: _Batch) -> float:
    loss = nn.functional.cross_entropy(net(batch.pictures, batch.words, batch.shown), batch.answers)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _test(net: nn.Module, samples: Samples, test: range) -> NDArray[np.float64]:
    with torch.inference_mode():
        hits = [
            (net(batch.pictures, batch.words, batch.shown).argmax(1) == batch.answers).numpy()
            for batch in _list_batches(samples, np.asarray(test))
        ]
    return np.concatenate(hits).astype(np.float64)


def _test_constant(groups_N: NDArray[np.uint32], answers_N: NDArray[np.uint8], cut: int) -> NDArray[np.float64]:
    """Whether the commonest answer of a sample's group before ``cut`` is right, for each sample after it."""
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for group, answer in zip(groups_N[:cut].tolist(), answers_N[:cut].tolist(), strict=True):
        counts[group][answer] += 1
    best = {group: max(sorted(tally), key=lambda answer: tally[answer]) for group, tally in counts.items()}
    pairs = zip(groups_N[cut:].tolist(), answers_N[cut:].tolist(), strict=True)
    return np.asarray([best.get(group) == answer for group, answer in pairs], dtype=np.float64)


def main() -> None:
    """Certify every kind of needle at every step of fineness."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--samples", type=int, default=111_112, help="nine tenths are trained on, the rest is tested on"
    )
    parser.add_argument("--kinds", default=",".join(_KINDS))
    parser.add_argument("--fineness", default="1", help="steps of the sweep, for example 1,2,3,4,6,8")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for kind in args.kinds.split(","):
        if kind not in _KINDS:
            parser.error(f"--kinds {kind!r} is unknown; accepted are {', '.join(_KINDS)}")
        for fineness in (float(step) for step in args.fineness.split(",")):
            folder = args.out / f"{kind}-{fineness:g}"
            report = certify(folder, kind, args.samples, fineness=fineness, epochs=args.epochs)
            (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
            print(report.model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
