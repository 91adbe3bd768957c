"""nano-seg: one small promptable segmenter, prompted by a box, by a target's name, or by both.

A residual U-Net of 1.8 million parameters whose blocks are modulated by the prompt (FiLM: Perez et al.,
arXiv:1709.07871). A box prompt is answered on a square window around the box, so that the object always has about
the same size, and the box enters as two extra channels: its interior, and the elliptic radius inside it. A text
prompt is answered on the whole picture.

Shapes: ``B`` batch, ``C`` channel, ``H`` row, ``W`` column. Coordinates are continuous pixels, x right, y down,
(0, 0) at the outer corner of the first pixel. The recipe is ``ophiscope.recipes.nano_seg``.
"""

import hashlib
import itertools
import json
import math
from importlib import resources
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.tools.segmenters.segmenter import Prediction

__all__ = [
    "FINE_TARGETS",
    "TARGETS",
    "Calibration",
    "NanoSeg",
    "NanoSegNet",
    "Prediction",
    "Window",
    "render_box_channels",
    "sample_window",
]

TARGETS: tuple[str, ...] = (
    "polyp",
    "breast tumor",
    "benign breast tumor",
    "malignant breast tumor",
    "nuclei",
    "cell membrane",
    "retinal vessels",
    "skin lesion",
    "lung",
    "aorta",
    "colon",
    "duodenum",
    "femur left",
    "femur right",
    "gallbladder",
    "gluteus maximus left",
    "gluteus maximus right",
    "gluteus medius left",
    "gluteus medius right",
    "gluteus minimus left",
    "gluteus minimus right",
    "hip left",
    "hip right",
    "iliac artery left",
    "iliac artery right",
    "iliac vena left",
    "iliac vena right",
    "iliopsoas left",
    "iliopsoas right",
    "inferior vena cava",
    "intervertebral discs",
    "kidney",
    "kidney left",
    "kidney right",
    "liver",
    "lung lower lobe left",
    "lung lower lobe right",
    "pancreas",
    "portal vein and splenic vein",
    "prostate",
    "ribs",
    "sacrum",
    "small bowel",
    "spinal cord",
    "spleen",
    "stomach",
    "urinary bladder",
    "vertebrae",
)
"""The closed vocabulary of text prompts; the order is the row of the embedding, less one (row 0: no name given)."""

FINE_TARGETS = frozenset({"nuclei", "cell membrane", "retinal vessels"})
"""Many small or thin parts: segmented at a finer grid, without a second look."""

BOX_CONTEXT = 1.5
"""Side of the window around a box, as a multiple of the box's longer side."""
BOX_PX = 128
TEXT_PX = 128
FINE_PX = 256
"""Side of the network's input for a box, for a compact target by name, and (at most) for a fine target by name."""

_FORMAT = "nano-seg/1"
_PROMPT_CHANNELS = 2
_COND = 64


class Window(NamedTuple):
    """A square of the picture, in continuous pixels; it may reach beyond the picture, where the network sees black."""

    x0: float
    y0: float
    side: float


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions; the prompt scales and shifts the second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.film = nn.Linear(_COND, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, cond_B_K: Tensor) -> Tensor:
        scale, shift = self.film(cond_B_K)[:, :, None, None].chunk(2, dim=1)
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(x + y * (1 + scale) + shift)


class NanoSegNet(nn.Module):
    """The network: picture and prompt to mask logits and one presence logit.

    Args:
        widths: Channels at 1/2, 1/4, 1/8 and 1/16 of the input's side.
        depths: Blocks of the encoder at those scales; the decoder has one at each of the first three.
        targets: Size of the vocabulary.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 40, 96, 160),
        depths: tuple[int, ...] = (1, 1, 2, 2),
        targets: int = len(TARGETS),
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 + _PROMPT_CHANNELS, widths[0], 3, stride=2, padding=1)
        self.embed_target = nn.Embedding(targets + 1, _COND)
        self.embed_mode = nn.Embedding(2, _COND)
        pairs = list(itertools.pairwise(widths))
        self.encoder = nn.ModuleList(
            nn.ModuleList(_Block(w) for _ in range(n)) for w, n in zip(widths, depths, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.context = nn.Linear(widths[-1], widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(_Block(w) for w in widths[:-1])
        self.mask_head = nn.Conv2d(widths[0], 4, 1)
        self.presence_head = nn.Sequential(nn.Linear(2 * widths[-1] + _COND + 2, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x_B_C_H_W: Tensor, target_B: Tensor, boxed_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits.

        Args:
            x_B_C_H_W: RGB minus 0.5 in -0.5..0.5, then the two prompt channels; sides are multiples of 16.
            target_B: 0 for no name, else 1 + index in :data:`TARGETS`.
            boxed_B: 1 where the sample has a box prompt.

        Returns:
            Mask logits ``(B, H, W)`` and presence logits ``(B,)``.
        """
        cond = functional.relu(self.embed_target(target_B) + self.embed_mode(boxed_B))
        x = functional.relu(self.stem(x_B_C_H_W))
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            for block in cast(nn.ModuleList, stage):
                x = block(x, cond)
            if level < len(self.down):
                skips.append(x)
                x = functional.relu(self.down[level](x))
        x = x + self.context(x.mean((2, 3)))[:, :, None, None]
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3)), cond], 1)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.decoder[level](x + skips[level], cond)
        mask_B_H_W = functional.pixel_shuffle(self.mask_head(x), 2)[:, 0]
        flat = mask_B_H_W.flatten(1)
        evidence = torch.stack([flat.amax(1) / 8, flat.sigmoid().mean(1) * 4], 1)
        return mask_B_H_W, self.presence_head(torch.cat([pooled, evidence], 1))[:, 0]


def sample_window(picture_C_H_W: Tensor, matrix_2_3: Tensor, px: int) -> Tensor:
    """Resample a picture bilinearly through an affine map; outside the picture is 0.

    Args:
        picture_C_H_W: Float picture.
        matrix_2_3: Maps ``(x, y, 1)`` in output pixels to picture pixels.
        px: Side of the square output.

    Returns:
        ``(C, px, px)``. A map that shrinks by 1.8 or more first averages whole blocks of pixels, against aliasing.
    """
    scale = float(matrix_2_3[:, :2].det().abs().sqrt())
    factor = max(1, int(scale / 0.9))
    if factor > 1:
        picture_C_H_W = functional.avg_pool2d(picture_C_H_W[None], factor, ceil_mode=True)[0]
    return _resample(picture_C_H_W, matrix_2_3 / factor, (px, px), padding="zeros")


def _resample(picture_C_H_W: Tensor, matrix_2_3: Tensor, out_hw: tuple[int, int], *, padding: str) -> Tensor:
    """Resample without any prefilter; see :func:`sample_window`."""
    # grid_sample and affine_grid share normalised coordinates: -1 and 1 are the outer edges (align_corners=False).
    (height, width), (rows, columns) = picture_C_H_W.shape[1:], out_hw
    to_unit = torch.tensor([[2 / width, 0.0, -1.0], [0.0, 2 / height, -1.0]])
    from_unit = torch.tensor([[columns / 2, 0.0, columns / 2], [0.0, rows / 2, rows / 2], [0.0, 0.0, 1.0]])
    full = torch.cat([matrix_2_3, torch.tensor([[0.0, 0.0, 1.0]])])
    grid = functional.affine_grid((to_unit @ full @ from_unit)[None], [1, 1, rows, columns], align_corners=False)
    return functional.grid_sample(picture_C_H_W[None], grid, padding_mode=padding, align_corners=False)[0]


def render_box_channels(box_xyxy: tuple[float, float, float, float] | None, px: int) -> Tensor:
    """Draw a box, given in pixels of the network's input, as the two prompt channels ``(2, px, px)``.

    The first is 1 inside; the second is ``1 - r`` clipped to -1..1, with ``r`` the elliptic radius (1 on the
    ellipse that touches the four sides): the best guess that needs no picture. No box: zeros.
    """
    if box_xyxy is None:
        return torch.zeros(_PROMPT_CHANNELS, px, px)
    x0, y0, x1, y1 = box_xyxy
    centre = torch.arange(px) + 0.5
    u = (centre - (x0 + x1) / 2) / max((x1 - x0) / 2, 0.5)
    v = (centre - (y0 + y1) / 2) / max((y1 - y0) / 2, 0.5)
    inside = (v.abs() <= 1).float()[:, None] * (u.abs() <= 1).float()[None]
    radius = (u.square()[None] + v.square()[:, None]).sqrt()
    return torch.stack([inside, (1 - radius).clamp(-1, 1)])


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
            whole = _paste(probability_P_P, window, picture.shape[:2])
            columns, rows = np.arange(whole.shape[1]) + 0.5, np.arange(whole.shape[0]) + 0.5
            inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))[None]
            return np.where(inside, whole, np.float32(0)), logit
        scale = BOX_PX / side
        local = ((x0 - window.x0) * scale, (y0 - window.y0) * scale, (x1 - window.x0) * scale, (y1 - window.y0) * scale)
        probability_P_P, logit = self._run(picture, window, BOX_PX, box_xyxy=local, target=target)
        return _paste(probability_P_P, window, picture.shape[:2]), logit

    def _predict_text(self, picture: npt.NDArray[np.uint8], target: str) -> tuple[npt.NDArray[np.float32], float]:
        height, width = picture.shape[:2]
        side = float(max(height, width))
        window = Window((width - side) / 2, (height - side) / 2, side)
        fine = target in FINE_TARGETS
        px = _fine_px(side) if fine else TEXT_PX
        probability_P_P, logit = self._run(picture, window, px, box_xyxy=None, target=target)
        coarse = _paste(probability_P_P, window, picture.shape[:2])
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
        seen = torch.cat([_look(picture, window, px) - 0.5, render_box_channels(box_xyxy, px)])[None]
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


def _look(picture: npt.NDArray[np.uint8], window: Window, px: int) -> Tensor:
    """Resample a window of the picture to ``(3, px, px)`` in 0..1; beyond the picture is black."""
    height, width = picture.shape[:2]
    margin = 2 * window.side / px + 2  # what the block average and the bilinear taps reach beyond the window
    left, right = max(0, math.floor(window.x0 - margin)), min(width, math.ceil(window.x0 + window.side + margin))
    top, bottom = max(0, math.floor(window.y0 - margin)), min(height, math.ceil(window.y0 + window.side + margin))
    part = torch.from_numpy(np.array(picture[top:bottom, left:right])).permute(2, 0, 1).float() / 255
    step = window.side / px
    return sample_window(part, torch.tensor([[step, 0.0, window.x0 - left], [0.0, step, window.y0 - top]]), px)


def _paste(probability_P_P: Tensor, window: Window, shape_hw: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Resample a window's probabilities to the picture's grid; 0 outside the window."""
    height, width = shape_hw
    left, right = max(0, math.ceil(window.x0 - 0.5)), min(width, math.floor(window.x0 + window.side + 0.5))
    top, bottom = max(0, math.ceil(window.y0 - 0.5)), min(height, math.floor(window.y0 + window.side + 0.5))
    scale = len(probability_P_P) / window.side
    matrix = torch.tensor([[scale, 0.0, (left - window.x0) * scale], [0.0, scale, (top - window.y0) * scale]])
    part = _resample(probability_P_P[None], matrix, (bottom - top, right - left), padding="border")[0]
    whole = np.zeros((height, width), dtype=np.float32)
    whole[top:bottom, left:right] = part.numpy()
    return whole
