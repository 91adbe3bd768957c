"""Checkpoints in, models out: safetensors and two known architectures only, no code from the checkpoint."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ophiscope.checkpoint import compute_weights_sha256, find_checkpoint, list_weight_files, read_config_fields
from ophiscope.core.chat import ModelCard
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.models.local.engine import LocalModel, LocalParts
from ophiscope.models.local.nano import NANO_VIEW_PX
from ophiscope.models.local.packing import PatchLayout
from ophiscope.models.local.skeleton import SkeletonConfig, SkeletonModel
from ophiscope.models.local.tokens import load_codec

__all__ = [
    "EMBEDDED",
    "NANO_DIR",
    "build_model",
    "load_local",
    "load_model",
    "load_nano_model",
    "read_config",
    "write_checkpoint",
]

NANO_DIR = Path(__file__).parents[1] / "weights" / "nano"
"""Where the embedded model of pictures lies."""
EMBEDDED: Mapping[str, Path] = MappingProxyType({"nano": NANO_DIR, "nano-video": NANO_DIR.with_name("nano_video")})
"""Where the embedded models lie, by what they are called."""
_SMALL_BYTES = 1 << 27
"""Up to here a checkpoint is loaded directly; above, by the loader of transformers, which draws no fresh weights."""


_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_MAX_VIEW_TOKENS, _MIN_VIEW_TOKENS = 1024, 256


@dataclass(frozen=True, slots=True)
class _Family:
    """What a checkpoint's files do not say."""

    coords: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_FAMILIES: Mapping[str, _Family] = MappingProxyType(
    {
        "qwen3_vl": _Family("relative_1000", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "qwen2_5_vl": _Family("absolute_px", _CLIP_MEAN, _CLIP_STD),
    }
)


def _qwen3_vl() -> tuple[Any, Any]:
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration

    return Qwen3VLConfig, Qwen3VLForConditionalGeneration


def _qwen2_5_vl() -> tuple[Any, Any]:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration


_ARCHITECTURES: Mapping[str, Callable[[], tuple[Any, Any]]] = MappingProxyType(
    {"qwen3_vl": _qwen3_vl, "qwen2_5_vl": _qwen2_5_vl}
)


def load_local(spec: str, *, coords: str | None = None, offline: bool = False, device: str = "cpu") -> LocalModel:
    """Load a model that runs in this process.

    Args:
        spec: ``nano``, ``nano-video``, or ``hf:`` and a checkpoint directory or hub id (a bare directory or id is
            taken as well).
        coords: Coordinate profile instead of the family's own.
        offline: Whether a hub id may only come from the local hub cache.
        device: Where it computes; on a CPU in float32, elsewhere in bfloat16.

    Raises:
        WrongInput: If there is no such checkpoint, it is not one that we run, or its files are damaged.
    """
    try:
        return _load(spec, coords, offline=offline, device=device)
    except OphiscopeError:
        raise
    except OSError as error:
        raise WrongInput(f"The files of the model {spec!r} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        # a cut download, or weights and config.json of two models: the libraries that read them share no base class
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise WrongInput(f"The files of the model {spec!r} are damaged or do not fit together ({why}).") from error


def _load(spec: str, coords: str | None, *, offline: bool, device: str) -> LocalModel:
    if spec in EMBEDDED:
        directory = EMBEDDED[spec]
        return _assemble(spec, directory, load_nano_model(directory).to(device), coords)
    name = spec.removeprefix("hf:")
    directory = find_checkpoint(name, offline=offline)
    dtype = "float32" if device == "cpu" else "bfloat16"
    model = load_model(directory, dtype=dtype, device=device)
    return _assemble(f"hf:{name}", directory, model, coords)


def load_nano_model(directory: Path) -> SkeletonModel:
    """The embedded model in ``directory``, computed in float32, without an import of transformers.

    Raises:
        WrongInput: If the files are missing or do not fit one another.
    """
    import torch
    from safetensors.numpy import load_file

    model = SkeletonModel(SkeletonConfig.from_dict(_read_fields(directory)), seed=None)
    # widened by numpy: the first operation of torch on that much data would wait for its threads to start
    stored = load_file(list_weight_files(directory)[0])
    model.assign({name: torch.from_numpy(value.astype("float32")) for name, value in stored.items()})
    return model.eval()


def _assemble(name: str, directory: Path, model: Any, coords: str | None) -> LocalModel:
    """Join a loaded model with its tokenizer, picture layout and card."""
    config = model.config
    nano = getattr(config, "ophiscope_family", "") == "nano"
    family = _FAMILIES[config.model_type]
    layout = _read_layout(directory, config, family)
    codec = load_codec(directory)
    if codec.image_id != config.image_token_id:
        raise WrongInput(
            f"The tokenizer in {directory} gives <|image_pad|> the id {codec.image_id}, "
            f"its config.json {config.image_token_id}."
        )
    unit_px = layout.unit_px**2
    sizes = {"max_view_px": _MAX_VIEW_TOKENS * unit_px, "min_view_px": _MIN_VIEW_TOKENS * unit_px}
    if nano:
        sizes = {"max_view_px": NANO_VIEW_PX, "min_view_px": NANO_VIEW_PX} | dict(
            getattr(config, "ophiscope_views", {})
        )
    card = ModelCard(
        name=name,
        family="nano" if nano else config.model_type,
        coords=coords or family.coords,
        patch_px=layout.unit_px,
        prompt="nano" if nano else "qwen",
        token_exact=True,
        weights_sha256=compute_weights_sha256(directory),
        chat_template_sha256=_hash_template(directory),
        **sizes,
    )
    return LocalModel(LocalParts(card, model, codec, layout, config.text_config.max_position_embeddings))


def _read_layout(directory: Path, config: Any, family: _Family) -> PatchLayout:
    """Patch sizes by the config; mean and std by ``preprocessor_config.json`` where there is one."""
    vision = config.vision_config
    path = directory / "preprocessor_config.json"
    fields = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    mean, std = fields.get("image_mean", family.mean), fields.get("image_std", family.std)
    return PatchLayout(
        vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size, tuple(mean), tuple(std)
    )


def _hash_template(directory: Path) -> str | None:
    """sha256 of the checkpoint's own chat template, which is not used."""
    for name in ("chat_template.jinja", "chat_template.json"):
        if (directory / name).is_file():
            return hashlib.sha256((directory / name).read_bytes()).hexdigest()
    path = directory / "tokenizer_config.json"
    template = json.loads(path.read_text("utf-8")).get("chat_template") if path.is_file() else None
    return None if template is None else hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def _read_fields(directory: Path) -> dict[str, Any]:
    return read_config_fields(directory, _ARCHITECTURES, what="Qwen2.5-VL or Qwen3-VL")


def read_config(directory: Path) -> Any:
    """The config object of a checkpoint directory.

    Raises:
        WrongInput: If there is no readable ``config.json``, or its ``model_type`` is not one that we run.
    """
    fields = _read_fields(directory)
    config = _ARCHITECTURES[fields["model_type"]]()[0].from_dict(fields)
    if getattr(config.text_config, "use_sliding_window", False):
        raise WrongInput(
            f"{directory} asks for sliding-window attention, which is not supported; the published ones do not."
        )
    return config


def build_model(config: Any) -> Any:
    """A model of ``config`` with fresh weights."""
    return _ARCHITECTURES[config.model_type]()[1](config)


def load_model(directory: Path, *, dtype: str = "float32", device: str = "cpu") -> Any:
    """The model of a checkpoint directory, in evaluation mode.

    Args:
        directory: Holds ``config.json`` and ``*.safetensors``.
        dtype: What it computes in; float32 is exact to the tests, bfloat16 halves the memory of a big one.
        device: Where it computes.

    Raises:
        WrongInput: If there are no safetensors (pickled weights are refused: they can run code), or they do not fit
            the config.
    """
    import torch
    from safetensors.torch import load_file

    files = list_weight_files(directory)
    config = read_config(directory)
    cls = _ARCHITECTURES[config.model_type]()[1]
    kind = getattr(torch, dtype)
    if len(files) == 1 and files[0].stat().st_size <= _SMALL_BYTES and kind == torch.float32:
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn and thrown away
            model = cls(config)
        state = load_file(files[0])
        missing, unexpected = model.load_state_dict(state, strict=False)
        lost = sorted(set(missing) - {"lm_head.weight"} if config.tie_word_embeddings else missing)
        if not lost and not unexpected:
            return model.to(device=device, dtype=kind).eval()
    options = {"dtype": kind, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it lists every tensor that is missing; one line is said below
    model, info = cls.from_pretrained(directory, config=config, **options)
    if info["missing_keys"] or info["mismatched_keys"]:
        lost = sorted(info["missing_keys"]) or sorted(info["mismatched_keys"])
        raise WrongInput(
            f"The weights in {directory} do not fit its config.json: {lost[:3]} missing or of another shape."
        )
    return model.to(device).eval()


def write_checkpoint(directory: Path, model: Any, tokenizer: Any, *, half: bool) -> None:
    """Write ``config.json``, ``tokenizer.json`` and ``model.safetensors``.

    Args:
        directory: Made if missing; files of these names are replaced.
        model: From :func:`build_model` or training.
        tokenizer: A ``tokenizers.Tokenizer``.
        half: Whether to store fp16, half the size; it is computed in fp32 after loading.
    """
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    kind = torch.float16 if half else torch.float32
    path = directory / "model.safetensors"
    save_file({name: value.to(kind).contiguous() for name, value in state.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)
    model.config.to_json_file(directory / "config.json")
    tokenizer.save(str(directory / "tokenizer.json"))
