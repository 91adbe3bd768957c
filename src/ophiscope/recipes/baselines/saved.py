"""How fitted baselines are kept: a folder with ``baseline.json`` and its weights."""

from dataclasses import replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.errors import WrongInput
from ophiscope.eval.baselines import BASELINE_CARD, BlindModel
from ophiscope.eval.guessing import Majority, QuestionOnly

if TYPE_CHECKING:
    from ophiscope.recipes.baselines.crop import CropReader

__all__ = ["PREFIX", "BaselineFile", "Kind", "load_baseline", "save_baseline"]

PREFIX = "baseline:"
_FILE, _WEIGHTS, _NET = "baseline.json", "weights.npz", "model.safetensors"
_FORMAT = "ophiscope-baseline/1"


class Kind(StrEnum):
    """What was fitted."""

    MAJORITY = "majority"
    QUESTION_ONLY = "question-only"
    CROP = "crop"


class BaselineFile(BaseModel):
    """What was fitted, to what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = _FORMAT
    kind: Kind
    benchmark: str
    first_seed: int
    """Of the training questions."""
    n: int
    """Training questions, those that no constant can answer left out."""
    majority: Majority
    features: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    lesion: str = ""
    """What nano-seg is asked for where the question names nothing that it knows."""
    weights_sha256: str | None = None


def save_baseline(
    folder: Path, fitted: "Majority | QuestionOnly | CropReader", *, benchmark: str, first_seed: int, n: int
) -> None:
    """Write a baseline to a folder of its own; one that is there is written anew."""
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, object] = {"benchmark": benchmark, "first_seed": first_seed, "n": n}
    if isinstance(fitted, Majority):
        about |= {"kind": Kind.MAJORITY, "majority": fitted}
    elif isinstance(fitted, QuestionOnly):
        np.savez(folder / _WEIGHTS, weights_F_A=fitted.weights_F_A)
        about |= {"kind": Kind.QUESTION_ONLY, "majority": fitted.places}
        about |= {"features": fitted.features, "answers": fitted.answers, "weights_sha256": _hash(folder / _WEIGHTS)}
    else:
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in fitted.net.state_dict().items()}, folder / _NET)
        about |= {"kind": Kind.CROP, "majority": fitted.places, "lesion": fitted.lesion}
        about |= {"features": fitted.features, "answers": fitted.answers, "weights_sha256": _hash(folder / _NET)}
    (folder / _FILE).write_text(BaselineFile.model_validate(about).model_dump_json(indent=1) + "\n", "utf-8")


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def load_baseline(name: str) -> ChatModel:
    """The model that ``baseline:DIR`` names.

    Raises:
        WrongInput: If the folder holds none, or its files do not belong together.
    """
    folder = Path(name.removeprefix(PREFIX))
    path = folder / _FILE
    if not path.is_file():
        raise WrongInput(
            f"{folder} holds no {_FILE}; python -m ophiscope.recipes.baselines.fit writes it (DIR/majority, "
            "DIR/question-only, DIR/crop)."
        )
    content = path.read_bytes()
    try:
        about = BaselineFile.model_validate_json(content)
    except ValidationError as error:
        raise WrongInput(f"{path} is no baseline: {error.errors(include_url=False)[0]['msg']}.") from None
    if about.format != _FORMAT:
        raise WrongInput(f"{path} is of format {about.format!r}; {_FORMAT!r} is accepted.")
    card = replace(BASELINE_CARD, name=f"{PREFIX}{about.kind.value}", weights_sha256=sha256(content).hexdigest())
    if about.kind is Kind.MAJORITY:
        return BlindModel(about.majority.guess, card)
    weights = folder / (_WEIGHTS if about.kind is Kind.QUESTION_ONLY else _NET)
    if not weights.is_file() or _hash(weights) != about.weights_sha256:
        raise WrongInput(f"{weights} is missing or is not the one that {path} was written with; fit it again.")
    if about.kind is Kind.QUESTION_ONLY:
        with np.load(weights, allow_pickle=False) as arrays:
            fitted = QuestionOnly(about.features, about.answers, arrays["weights_F_A"], about.majority)
        return BlindModel(fitted.guess, card)
    return _load_crop(about, weights, card)


def _load_crop(about: BaselineFile, weights: Path, card: ModelCard) -> ChatModel:
    from safetensors.torch import load_file

    from ophiscope.recipes.baselines.crop import CropClassifier, CropNet, CropReader  # torch is slow to import

    net = CropNet(len(about.features), len(about.answers))
    net.load_state_dict(load_file(weights))
    reader = CropReader(net.eval(), about.features, about.answers, about.majority, about.lesion)
    return CropClassifier(reader, card=card)
