"""The certificate of the worlds: what the overview gives away of a needle, found by networks trained on nothing else.

Run: ``python -m ophiscope.recipes.nano.certificate --out runs/nano/certificate --samples 111112``

(a) One network sees the overview and the question and is told the answer; (b) one sees what the overview shows at each
lesion, cut out for it, so that it need not search; (c) one sees the question alone. They are held against constants:
the best answer to the words, and, for (a) and (b), the best answer to the words and to what the overview shows openly
(how many lesions, and in which quarters: of two candidates in two quarters, "where is the striped one" is right half
the time without a look). Both are told what is open, so that they look for what is hidden instead of learning to count.
(d) With ``--fineness`` the hidden structure grows until the overview shows it: a network that finds nothing at 1 is
seen to find it when there is something to be found.

Drawn samples are kept under ``--out``, and a run that was stopped goes on. A report is written for each kind and step.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import nn

from ophiscope.metrics.stats import Estimate, compute_bootstrap, compute_paired_bootstrap
from ophiscope.recipes.nano.certificate_nets import Batch, CloseNet, OverviewNet, QuestionNet
from ophiscope.recipes.nano.certificate_samples import KINDS, Samples, draw_samples
from ophiscope.recipes.nano.tasks import Kind

__all__ = ["NETS", "CertificateReport", "Found", "certify", "main"]

NETS = ("question", "overview", "close")
_BATCH = 128
_HELD_OUT = 0.1
"""Share of the samples that is tested on: the last ones."""


class Found(BaseModel):
    """What one network is worth on held-out samples; triples are value, low and high (95 %)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    right: tuple[float, float, float]
    gain: tuple[float, float, float]
    """Less the constant that it is held against; below .03 the needle is hidden from it."""


class CertificateReport(BaseModel):
    """What one kind of needle gives away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    fineness: float
    trained_on: int
    tested_on: int
    constant: float
    """The best answer to the words."""
    open_constant: float
    """The best answer to the words and to what the overview shows openly."""
    found: dict[str, Found]
    """By network."""


def certify(
    folder: Path, kind: Kind, n: int, *, fineness: float = 1.0, epochs: int = 3, nets: Sequence[str] = NETS
) -> CertificateReport:
    """Draw, train, and compare with the constants on the last tenth of the samples.

    Args:
        folder: Holds samples, states and the report; what an earlier call found of other networks stays in it.
        kind: Of needle.
        n: How many samples.
        fineness: See :class:`~ophiscope.worlds.draw.Recipe`.
        epochs: Passes over the samples.
        nets: Which of :data:`NETS`.
    """
    samples = draw_samples(folder, kind, n, fineness=fineness)
    shown = int(samples.shown_N.max()) + 1
    cut = n - max(1, round(n * _HELD_OUT))
    constant = _test_constant(samples.asked_N, samples.answers_N, cut)
    open_constant = _test_constant(samples.open_N, samples.answers_N, cut)
    path = folder / "report.json"
    known = CertificateReport.model_validate_json(path.read_text("utf-8")).found if path.exists() else {}
    found: dict[str, Found] = {}
    for name in nets:
        net = {"question": QuestionNet, "overview": OverviewNet, "close": CloseNet}[name](shown)
        trained = _train(folder / f"{name}.{n}.pt", net, samples, cut=cut, epochs=epochs)
        right = _test(trained, samples, range(cut, n))
        rng = np.random.default_rng(0)
        gain = compute_paired_bootstrap(right, constant if name == "question" else open_constant, rng)
        found[name] = Found(epochs=epochs, right=_triple(compute_bootstrap(right, rng)), gain=_triple(gain))
    report = CertificateReport(
        kind=kind,
        fineness=fineness,
        trained_on=cut,
        tested_on=n - cut,
        constant=float(constant.mean()),
        open_constant=float(open_constant.mean()),
        found=known | found,
    )
    path.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    return report


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


def _list_batches(
    samples: Samples, order: NDArray[np.int64], *, after: torch.optim.lr_scheduler.LRScheduler | None = None
) -> Iterator[Batch]:
    shown_N = samples.shown_N
    for first in range(0, len(order), _BATCH):
        index = np.sort(order[first : first + _BATCH])
        yield Batch(
            torch.from_numpy(samples.pictures_N_H_W[index]),
            torch.from_numpy(samples.words_N_F[index]),
            torch.from_numpy(shown_N[index]),
            torch.from_numpy(samples.places_N_K_2[index]),
            torch.from_numpy(samples.answers_N[index].astype(np.int64)),
        )
        if after is not None:
            after.step()


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    loss = nn.functional.cross_entropy(net(batch), batch.answers_B)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _test(net: nn.Module, samples: Samples, test: range) -> NDArray[np.float64]:
    with torch.inference_mode():
        hits = [(net(batch).argmax(1) == batch.answers_B).numpy() for batch in _list_batches(samples, np.asarray(test))]
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
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--fineness", default="1", help="steps of the sweep, for example 1,2,3,4,6,8")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--nets", default=",".join(NETS), help="which networks; the report keeps what others found")
    args = parser.parse_args()
    torch.set_num_threads(1)
    nets = _split(parser, "--nets", args.nets, NETS)
    for kind in _split(parser, "--kinds", args.kinds, KINDS):
        for fineness in (float(step) for step in args.fineness.split(",")):
            folder = args.out / f"{kind}-{fineness:g}"
            report = certify(folder, kind, args.samples, fineness=fineness, epochs=args.epochs, nets=nets)
            print(report.model_dump_json(), flush=True)


def _split(parser: argparse.ArgumentParser, flag: str, text: str, accepted: Sequence[str]) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in accepted]:
        parser.error(f"{flag} {unknown[0]!r} is unknown; accepted are {', '.join(accepted)}")
    return names


if __name__ == "__main__":
    main()
