"""nano-seg: one small promptable segmenter, prompted by a box, by a target's name, or by both.

A box prompt is answered on a square window around the box, so that the object always has about the same size, and the
box enters as two extra channels: its interior, and the elliptic radius inside it. A text prompt is answered on the
whole picture.

Shapes: ``B`` batch, ``C`` channel, ``H`` row, ``W`` column. Coordinates are continuous pixels, x right, y down,
(0, 0) at the outer corner of the first pixel. The recipe is ``ophiscope.recipes.nano_seg``.
"""

import hashlib
import json
import math
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from ophiscope.tools.segmenters.nano_seg_net import FINE_TARGETS, TARGETS, NanoSegNet
from ophiscope.tools.segmenters.nano_seg_windows import Window, paste_window, read_window, render_box_channels
from ophiscope.tools.segmenters.segmenter import Prediction

__all__ = ["Calibration", "NanoSeg"]

BOX_CONTEXT = 1.5
"""Side of the window around a box, as a multiple of the box's longer side."""
BOX_PX = 128
TEXT_PX = 128
FINE_PX = 256
"""Side of the network's input for a box, for a compact target by name, and (at most) for a fine target by name."""

_FORMAT = "nano-seg/1"


class Calibration(NamedTuple):
    """Presence = sigmoid(gain * logit + bias), fitted on validation pictures, one pair per kind of prompt."""

    box_gain: float = 1.0
    box_bias: float = 0.0
    text_gain: float = 1.0
    text_bias: float = 0.0


class NanoSeg:
    """The embedded segmenter. Deterministic for one machine and thread count; torch on the CPU.

    Args:
        net: The network, in eval mode.
        targets: Vocabulary of text prompts, in the order of the embedding.
        weights_sha256: Hash of the weights file, for the evidence; empty while training.
        calibration: Of the presence.
        flips: Average over mirrored inputs (names with a side, such as "kidney left", are never mirrored).
        refine: Look a second time, with a box prompt, around what a text prompt found. Off: on the validation polyps it
            lost three points of Dice, because a box around a wrong find makes the find firmer.
    """

    name = "nano-seg"

    def __init__(
        self,
        net: NanoSegNet,
        *,
        targets: tuple[str, ...] = TARGETS,
        weights_sha256: str = "",
        calibration: Calibration = Calibration(),  # noqa: B008 - an immutable value
        flips: bool = True,
        refine: bool = False,
    ) -> None:
        self._net = net.eval()
        self.targets = targets
        self.weights_sha256 = weights_sha256
        self._calibration = calibration
        self._flips = flips
        self._refine = refine

    @classmethod
    def load(cls, weights: bytes) -> "NanoSeg":
        """Load a weights file, given as its bytes.

        Raises:
            ValueError: If the file is no nano-seg weights file of this format.
        """
        # The safetensors header: 8 bytes little-endian length, then JSON with the metadata.
        length = int.from_bytes(weights[:8], "little")
        try:
            metadata: dict[str, Any] = json.loads(weights[8 : 8 + length])["__metadata__"]
        except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise ValueError("The weights are no safetensors file with metadata; give those of nano-seg.") from error
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"Weights format is {metadata.get('format')!r}; accepted is {_FORMAT!r}.")
        targets = tuple(json.loads(metadata["targets"]))
        widths, depths = tuple(json.loads(metadata["widths"])), tuple(json.loads(metadata["depths"]))
        net = NanoSegNet(widths, depths, len(targets))
        state = {key: value.float() for key, value in load_safetensors(weights).items()}
        missing, unknown = net.load_state_dict(state, strict=False)
        lost = [key for key in missing if not key.endswith("num_batches_tracked")]  # a counter of training only
        if lost or unknown:
            raise ValueError(f"Weights do not fit the network: missing {lost}, unknown {unknown}.")
        digest = hashlib.sha256(weights).hexdigest()
        calibration = Calibration(**json.loads(metadata["calibration"]))
        return cls(net, targets=targets, weights_sha256=digest, calibration=calibration)

    @classmethod
    def load_default(cls) -> "NanoSeg":
        """Load the weights that are shipped in the package."""
        return cls.load(resources.files(__package__).joinpath("weights", "nano_seg.safetensors").read_bytes())

    def predict(
        self,
        picture_H_W_3: npt.NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """Segment what the prompt means.

        The score is the mean probability inside the mask at threshold 0.5 (0 where that is empty); the presence is the
        probability that the picture (text) or the box holds the target, or any target where none was named.

        Args:
            picture_H_W_3: RGB picture of any size.
            box_xyxy: Half-open box inside the picture, in its pixels, or None.
            target: One of :attr:`targets`, or None. At least one of box and target is needed.

        Raises:
            ValueError: If the picture is no uint8 RGB array, the box is empty, outside or not finite, the target is
                unknown, or there is no prompt at all.
        """
        if picture_H_W_3.dtype != np.uint8 or picture_H_W_3.ndim != 3 or picture_H_W_3.shape[2] != 3:
            got = f"{picture_H_W_3.dtype} {picture_H_W_3.shape}"
            raise ValueError(f"Picture is {got}; accepted is uint8 (H, W, 3) RGB.")
        if target is not None and target not in self.targets:
            raise ValueError(f"Target {target!r} is not in the vocabulary; accepted are {', '.join(self.targets)}.")
        with torch.inference_mode():
            if box_xyxy is not None:
                box = _checked_box(box_xyxy, picture_H_W_3)
                probability, logit = self._predict_box(picture_H_W_3, box, target)
                gain, bias = self._calibration[:2]
            elif target is not None:
                probability, logit = self._predict_text(picture_H_W_3, target)
                gain, bias = self._calibration[2:]
            else:
                raise ValueError("No prompt: give box_xyxy, target, or both.")
        inside = probability[probability > 0.5]
        score = float(inside.mean()) if inside.size else 0.0
        return Prediction(probability, score, 1 / (1 + math.exp(-(gain * logit + bias))))

    def _predict_box(
        self, picture: npt.NDArray[np.uint8], box_xyxy: tuple[float, float, float, float], target: str | None
    ) -> tuple[npt.NDArray[np.float32], float]:
        x0, y0, x1, y1 = box_xyxy
        fine = target in FINE_TARGETS
        side = max(x1 - x0, y1 - y0) * (1 if fine else BOX_CONTEXT)
        window = Window((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)
        if fine:
            # The name says that the box holds many thin parts: find them by name, and keep those in the box.
            probability_P_P, logit = self._run(picture, window, _fine_px(side), box_xyxy=None, target=target)
            whole = paste_window(probability_P_P, window, picture.shape[:2])
            columns, rows = np.arange(whole.shape[1]) + 0.5, np.arange(whole.shape[0]) + 0.5
            inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))[None]
            return np.where(inside, whole, np.float32(0)), logit
        scale = BOX_PX / side
        local = ((x0 - window.x0) * scale, (y0 - window.y0) * scale, (x1 - window.x0) * scale, (y1 - window.y0) * scale)
        probability_P_P, logit = self._run(picture, window, BOX_PX, box_xyxy=local, target=target)
        return paste_window(probability_P_P, window, picture.shape[:2]), logit

    def _predict_text(self, picture: npt.NDArray[np.uint8], target: str) -> tuple[npt.NDArray[np.float32], float]:
        height, width = picture.shape[:2]
        side = float(max(height, width))
        window = Window((width - side) / 2, (height - side) / 2, side)
        fine = target in FINE_TARGETS
        px = _fine_px(side) if fine else TEXT_PX
        probability_P_P, logit = self._run(picture, window, px, box_xyxy=None, target=target)
        coarse = paste_window(probability_P_P, window, picture.shape[:2])
        ys, xs = np.nonzero(coarse > 0.5)
        if fine or not self._refine or not ys.size:
            return coarse, logit
        box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
        return self._predict_box(picture, box, target)[0], logit

    def _run(
        self,
        picture: npt.NDArray[np.uint8],
        window: Window,
        px: int,
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
    ) -> tuple[Tensor, float]:
        """Run the network on a window: mask probability ``(px, px)`` and presence logit, means over mirrored inputs."""
        seen = torch.cat([read_window(picture, window, px) - 0.5, render_box_channels(box_xyxy, px)])[None]
        sided = target is not None and (target.endswith(" left") or target.endswith(" right"))
        mirrors: list[list[int]] = [[]] if sided or not self._flips else [[], [3], [2], [2, 3]]
        batch = torch.cat([seen.flip(axes) for axes in mirrors]).contiguous(memory_format=torch.channels_last)
        name = torch.full((len(mirrors),), 0 if target is None else 1 + self.targets.index(target))
        logits, presence = self._net(batch, name, torch.full_like(name, int(box_xyxy is not None)))
        upright = [logits[i].flip([axis - 2 for axis in axes]) for i, axes in enumerate(mirrors)]
        return torch.stack(upright).mean(0).sigmoid(), float(presence.mean())


def _checked_box(
    box_xyxy: tuple[float, float, float, float], picture: npt.NDArray[np.uint8]
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, box_xyxy)  # numpy scalars would turn the tensors into float64
    height, width = picture.shape[:2]
    if not (all(map(math.isfinite, box_xyxy)) and 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(
            f"Box {tuple(box_xyxy)} is empty, not finite or outside its {width}x{height} picture; "
            "accepted is (x0, y0, x1, y1) with x0 < x1 and y0 < y1 in pixels of the picture."
        )
    return x0, y0, x1, y1


def _fine_px(side: float) -> int:
    """Side of the network's input for a fine target: about the picture's own pixels, as in training, within limits."""
    return min(FINE_PX, max(64, math.ceil(side / 16) * 16))
