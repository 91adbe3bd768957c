"""What becomes of the answers when the segmenter is another, a noisy one, or none; nothing is trained.

Run: ``python -m ophiscope.recipes.nano.robustness --data SEG_PACK --n 100``

``turned`` is the same segmenter on the picture with rows and columns exchanged: other masks, whose quality is told
beside them (a mirrored picture would be no change: nano-seg averages over mirrors itself). ``noisy`` moves every mask
by a tenth of its size and shakes presence. ``classical`` understands boxes and no words. ``absent`` has no tool that
segments.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ophiscope.core.chat import ChatModel
from ophiscope.data.seg_pack import Split
from ophiscope.eval.runner import run_items
from ophiscope.eval.summary import compute_rate
from ophiscope.metrics.stats import Estimate, compute_bootstrap, compute_paired_bootstrap
from ophiscope.models.local.load import load_local
from ophiscope.recipes.nano.evaluate import list_sources
from ophiscope.recipes.nano.real_pictures import RealPicture
from ophiscope.recipes.nano.tasks import build_setup, read_real_pictures
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.segmenter import Prediction, Segmenter, Sight

__all__ = ["Changed", "list_conditions", "main", "measure", "measure_quality", "shake", "turn"]

_OWN = "nano-seg"
_NO_SEGMENTING = "zoom_in,window,measure"
_SETS = ("real", "choice")
_MOVED, _SHAKEN = 0.1, 0.15
_INSIDE = 0.5


Box = tuple[float, float, float, float]
Answer = Callable[[NDArray[np.uint8], Box | None], Prediction]
"""A segmenter that was told the target: picture and box to prediction."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A :class:`~ophiscope.tools.segmenters.segmenter.Segmenter` that answers in another way than ``inner``."""

    inner: Segmenter
    name: str
    change: Callable[[Answer, NDArray[np.uint8], Box | None], Prediction]

    @property
    def weights_sha256(self) -> str | None:
        """Those of the other one."""
        return self.inner.weights_sha256

    @property
    def targets(self) -> tuple[str, ...] | None:
        """Those of the other one."""
        return self.inner.targets

    @property
    def sight(self) -> Sight:
        """That of the other one."""
        return self.inner.sight

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: Box | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """See :class:`~ophiscope.tools.segmenters.segmenter.Segmenter`."""

        def answer(picture: NDArray[np.uint8], box: Box | None) -> Prediction:
            return self.inner.predict(picture, box_xyxy=box, target=target, modality=modality)

        return self.change(answer, picture_H_W_3, box_xyxy)


def turn(answer: Answer, picture_H_W_3: NDArray[np.uint8], box: Box | None) -> Prediction:
    """See rows as columns."""
    turned = None if box is None else (box[1], box[0], box[3], box[2])
    found = answer(np.ascontiguousarray(picture_H_W_3.transpose(1, 0, 2)), turned)
    return found._replace(probability_H_W=np.ascontiguousarray(found.probability_H_W.T))


def shake(answer: Answer, picture_H_W_3: NDArray[np.uint8], box: Box | None) -> Prediction:
    """Move the mask by a tenth of its size, in a direction that the picture decides, and presence by about .15."""
    found = answer(picture_H_W_3, box)
    rng = np.random.default_rng(int(picture_H_W_3.astype(np.int64).sum()))
    side, angle = float(np.sqrt((found.probability_H_W > 0.5).sum())), rng.uniform(0, 2 * np.pi)
    moves = [round(_MOVED * side * value) for value in (np.sin(angle), np.cos(angle))]
    presence = found.presence
    if presence is not None:
        presence = float(np.clip(presence + rng.normal(0, _SHAKEN), 0, 1))
    return found._replace(probability_H_W=np.roll(found.probability_H_W, moves, axis=(0, 1)), presence=presence)


def list_conditions() -> Mapping[str, tuple[Segmenter, str]]:
    """Segmenter and tools of each row."""
    own = build_segmenter(_OWN)
    return {
        "nano-seg": (own, "all"),
        "turned": (Changed(own, "turned", turn), "all"),
        "noisy": (Changed(own, "noisy", shake), "all"),
        "classical": (build_segmenter("classical"), "all"),
        "absent": (own, _NO_SEGMENTING),
    }


def measure_quality(segmenter: Segmenter, pictures: Sequence[RealPicture]) -> Estimate | None:
    """Mean Dice with human masks, by name, on whole pictures; None where it knows no names."""
    values = []
    for picture in pictures:
        pixels = picture.pixels if picture.pixels.ndim == 3 else np.stack([picture.pixels] * 3, axis=-1)
        for target, truth in picture.masks.items():
            if segmenter.targets is not None and target in segmenter.targets:
                found = segmenter.predict(pixels, box_xyxy=None, target=target).probability_H_W > _INSIDE
                values.append(2 * float((found & truth).sum()) / max(1.0, float(found.sum() + truth.sum())))
    return compute_bootstrap(values, np.random.default_rng(0)) if values else None


def measure(model: ChatModel, n: int, data: Path | None, tell: Callable[[str], None]) -> None:
    """Tell a row for each set and condition: right answers, and the paired difference to the own segmenter."""
    pictures = read_real_pictures(data, Split.TEST) if data is not None else ()
    for condition, (segmenter, tools) in list_conditions().items() if pictures else ():
        quality = measure_quality(segmenter, pictures) if tools == "all" else None
        said = "-" if quality is None else f"{quality.value:.3f} ({quality.low:.3f}-{quality.high:.3f})"
        tell(f"Dice with human masks, by name: {condition} {said}")
    tell("\n| set | segmenter | right | points beside nano-seg |\n|---|---|---|---|")
    for name, sources in list_sources(_SETS, n, pictures=pictures, whole=False).items():
        base: list[float] = []
        for condition, (segmenter, tools) in list_conditions().items():
            set_up = partial(build_setup, segmenter=segmenter, tools=tools, card=model.card)
            right = [float(bool(record.correct)) for record in run_items(sources, model, set_up, batch=8)]
            base = base or right
            rate = compute_rate([bool(value) for value in right])
            gap = compute_paired_bootstrap(right, base, np.random.default_rng(0))
            assert rate is not None
            tell(
                f"| {name} | {condition} | {rate.hits} of {rate.n}, {rate.value:.1%} ({rate.low:.1%}-{rate.high:.1%}) "
                f"| {100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}) |"
            )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--data", type=Path, default=None, help="the seg_pack folder, for real pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    measure(load_local(args.model), args.n, args.data, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
