"""sam2: SAM 2 and 2.1 (Ravi et al., arXiv 2408.00714) from any checkpoint in the format of transformers.

The picture is squeezed to the square that the network wants (1024 px), without regard to its aspect, as in training.
Boxes and points go along. What the image encoder found is kept for the last few pictures: a second prompt on the same
view costs the decoder alone.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from ophiscope.checkpoint import compute_weights_sha256, find_checkpoint, read_config_fields
from ophiscope.errors import ToolCode, ToolError, WrongInput
from ophiscope.tools.segmenters.segmenter import Prediction, Sight

__all__ = ["Preprocessing", "Sam2", "load_sam2", "preprocess"]

_MODEL_TYPES = ("sam2", "sam2_video")
"""The published checkpoints are those of the video model, whose memory is left out here."""
_KEPT_PICTURES = 4
"""Of 17 MB each, for a 1024 px network."""


class Preprocessing(NamedTuple):
    """How a picture becomes the input of the network."""

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Of the three channels, after division by 255."""


_DEFAULT = Preprocessing(1024, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def preprocess(picture_H_W_3: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float32]:
    """A picture as ``(1, 3, side, side)``: squeezed bilinearly (averaging where it shrinks), then normalised."""
    squeezed = Image.fromarray(picture_H_W_3).resize((how.side_px, how.side_px), Image.Resampling.BILINEAR)
    values = np.asarray(squeezed, dtype=np.float32) / np.float32(255.0)
    normal = (values - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


class Sam2:
    """A SAM 2 network as a segmenter: boxes through the tools, points through :meth:`predict_points`.

    Args:
        name: As given on the command line.
        network: A ``transformers`` ``Sam2Model`` in evaluation mode.
        how: Its preprocessing.
        weights_sha256: Hash of its weights.
    """

    targets: tuple[str, ...] | None = ()

    def __init__(self, name: str, network: Any, how: Preprocessing, *, weights_sha256: str | None) -> None:
        self.name, self.weights_sha256 = name, weights_sha256
        self.sight = Sight(least_px=1, most_px=how.side_px, around_box=False)
        self._network, self._how = network, how
        self._device = next(network.parameters()).device
        self._seen: OrderedDict[bytes, list[torch.Tensor]] = OrderedDict()

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """See :meth:`ophiscope.tools.segmenters.segmenter.Segmenter.predict`.

        One mask for a box. Its score is the overlap that the network expects; what it says of presence was trained on
        videos and is not taken for one.
        """
        if target is not None or box_xyxy is None:
            raise ToolError(
                ToolCode.NOT_APPLICABLE, "The segmenter sam2 takes boxes only; run with nano-seg to name a target."
            )
        box = self._to_input(picture_H_W_3, np.asarray(box_xyxy, np.float64).reshape(2, 2)).reshape(1, 1, 4)
        return self._decode(picture_H_W_3, input_boxes=box, multimask_output=False)[0]

    def predict_points(
        self, picture_H_W_3: NDArray[np.uint8], points_xy: Sequence[tuple[float, float]], inside: Sequence[bool]
    ) -> tuple[Prediction, ...]:
        """Three readings of what the points mean (part, object, whole), best expected overlap first.

        Args:
            picture_H_W_3: What is looked at.
            points_xy: In pixels of the picture.
            inside: Whether each lies on the object, or on what is not part of it.

        Raises:
            ValueError: If there is no point, or not one word for each.
        """
        if not points_xy or len(points_xy) != len(inside):
            raise ValueError(f"{len(points_xy)} point(s) and {len(inside)} label(s); one label for each is needed.")
        points = self._to_input(picture_H_W_3, np.asarray(points_xy, np.float64))[None, None]
        labels = torch.tensor([[[int(one) for one in inside]]], device=self._device)
        found = self._decode(picture_H_W_3, input_points=points, input_labels=labels, multimask_output=True)
        return tuple(sorted(found, key=lambda one: -one.score))

    def _to_input(self, picture_H_W_3: NDArray[np.uint8], points_N_2: NDArray[np.float64]) -> torch.Tensor:
        """Continuous pixels of the picture in those of the input; the network adds the half that is taken here."""
        height, width = picture_H_W_3.shape[:2]
        moved = points_N_2 * self._how.side_px / (width, height) - 0.5
        return torch.tensor(moved, dtype=torch.float32, device=self._device)

    @torch.inference_mode()
    def _decode(self, picture_H_W_3: NDArray[np.uint8], **prompt: Any) -> list[Prediction]:
        said = self._network(image_embeddings=self._look(picture_H_W_3), **prompt)
        logits = functional.interpolate(
            said.pred_masks[0].float(), picture_H_W_3.shape[:2], mode="bilinear", align_corners=False
        )
        masks = logits.sigmoid()[0].cpu().numpy()
        scores = said.iou_scores[0, 0].float().clamp(0.0, 1.0).cpu().tolist()
        return [Prediction(mask, score, None) for mask, score in zip(masks, scores, strict=True)]

    def _look(self, picture_H_W_3: NDArray[np.uint8]) -> list[torch.Tensor]:
        """What the image encoder finds, kept for the last few pictures."""
        shape = str(picture_H_W_3.shape).encode()
        key = hashlib.blake2b(shape + np.ascontiguousarray(picture_H_W_3).tobytes(), digest_size=16).digest()
        if key not in self._seen:
            values = torch.from_numpy(preprocess(picture_H_W_3, self._how)).to(self._device)
            self._seen[key] = self._network.get_image_embeddings(values)
            if len(self._seen) > _KEPT_PICTURES:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return list(self._seen[key])


def load_sam2(spec: str, *, offline: bool = False) -> Sam2:
    """Load ``sam2:`` and a checkpoint directory or hub id (for example ``sam2:facebook/sam2.1-hiera-tiny``).

    Args:
        spec: As given on the command line.
        offline: Whether a hub id may only come from the local hub cache.

    Raises:
        WrongInput: If there is no such checkpoint, it is of another architecture, its weights are pickled, or they do
            not fit its config.
    """
    directory = find_checkpoint(spec.removeprefix("sam2:"), offline=offline, example="facebook/sam2.1-hiera-tiny")
    read_config_fields(directory, _MODEL_TYPES, what="SAM 2")
    digest = compute_weights_sha256(directory)
    from transformers.models.sam2.modeling_sam2 import Sam2Model
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()  # a terminal gets answers, not the loading of a few hundred megabytes
    try:
        how = _read_preprocessing(directory)
        network, info = Sam2Model.from_pretrained(
            directory, use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except WrongInput:
        raise
    except Exception as error:  # a cut download, or weights of another size: no common base of what is raised
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise WrongInput(f"The weights in {directory} are damaged or do not fit its config.json ({why}).") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        lost = sorted(map(str, info["missing_keys"] or info["mismatched_keys"]))[:3]
        raise WrongInput(f"The weights in {directory} do not fit its config.json: {lost} missing or of another shape.")
    how = how._replace(side_px=network.config.prompt_encoder_config.image_size)
    return Sam2(spec, network.eval(), how, weights_sha256=digest)


def _read_preprocessing(directory: Path) -> Preprocessing:
    """Mean and deviation of the checkpoint where it gives them."""
    path = directory / "preprocessor_config.json"
    fields = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    mean, std = fields.get("image_mean", _DEFAULT.mean), fields.get("image_std", _DEFAULT.std)
    for name, numbers in (("image_mean", mean), ("image_std", std)):
        sound = isinstance(numbers, list | tuple) and all(type(number) in (int, float) for number in numbers)
        if not sound or len(numbers) != 3 or not all(abs(number) < 1e3 for number in numbers) or 0 in std:
            raise WrongInput(f"{path} has {name} {str(numbers)[:60]}; three numbers are expected, deviations above 0.")
    return _DEFAULT._replace(mean=tuple(mean), std=tuple(std))
