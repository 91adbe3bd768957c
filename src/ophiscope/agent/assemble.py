"""The one place where names become objects: models, segmenters, and the setup and manifest of an episode."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

import ophiscope
from ophiscope.agent.limits import Limits
from ophiscope.agent.prompt import Prompt, read_prompt
from ophiscope.agent.setup import Setup
from ophiscope.agent.values import clean_text
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply
from ophiscope.core.framing import ViewPolicy
from ophiscope.core.study import Study
from ophiscope.core.trace import Manifest, ReplyEvent
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.media.deid import TEXT_ON_PIXELS
from ophiscope.models.address import build_server_card, parse_server_name
from ophiscope.models.replay import ReplayModel
from ophiscope.net.address import MODEL_SERVER, SEGMENTER_SERVER
from ophiscope.protocol.coords import parse_profile
from ophiscope.tools.build import build_tools
from ophiscope.tools.segmenters.build import build_segmenter as build_named_segmenter
from ophiscope.tools.segmenters.remote_address import SCHEME, parse_segmenter_name
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = [
    "EMBEDDED",
    "MODEL_FORMS",
    "SetupOptions",
    "build_manifest",
    "build_model",
    "build_segmenter",
    "build_setup",
    "check_egress",
    "check_recording",
    "check_sending",
    "choose_embedded",
    "find_model_host",
    "find_segmenter_host",
    "parse_card",
    "parse_recorded_replies",
]

MODEL_FORMS = "nano, nano-video, hf:ID_OR_DIR, openai:BASE_URL#NAME, replay:TRACE"
EMBEDDED = ("nano", "nano-video")
_SERVER_PROMPT = "qwen"
_CORE_LIBRARIES = ("numpy", "pillow", "av", "pydicom", "nibabel", "pydantic")
_LOCAL_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "scikit-image")
_SERVER_LIBRARIES = ("httpx2",)


def build_model(spec: str, *, coords: str | None = None, offline: bool = False) -> ChatModel:
    """The model that ``spec`` names; a local one is loaded once a process.

    Args:
        spec: ``nano``, ``nano-video``, ``hf:ID_OR_DIR``, ``openai:BASE_URL#NAME`` or ``replay:TRACE``.
        coords: Coordinate profile instead of the family's own.
        offline: Whether a model that needs a network is refused.

    Raises:
        WrongInput: If the name is unknown, or what it needs is not there.
    """
    if coords is not None:
        parse_profile(coords)
    if spec.startswith("openai:"):
        return _build_server(spec, coords, offline)
    if spec.startswith("replay:"):
        return _build_replay(Path(spec.removeprefix("replay:")), coords)
    if spec in EMBEDDED or (spec.startswith("hf:") and spec != "hf:"):
        return _load_local(spec, coords, offline)
    raise WrongInput(f"Unknown model {spec!r}; accepted are {MODEL_FORMS}.")


def choose_embedded(spec: str, case: Case) -> str:
    """The embedded model that suits a case: ``nano`` is of pictures, ``nano-video`` of what holds many of them."""
    several = any(study.stack is not None for study in case.studies)
    return "nano-video" if spec == "nano" and several else spec


def _build_server(spec: str, coords: str | None, offline: bool) -> ChatModel:
    from ophiscope.models.server import ServerModel  # the HTTP client costs time that the other models need not pay

    address = parse_server_name(spec)
    card = build_server_card(address, coords=coords, prompt=_SERVER_PROMPT)
    return ServerModel(address, card=card, api_key=os.environ.get(MODEL_SERVER.key), offline=offline)


def _build_replay(folder: Path, coords: str | None) -> ChatModel:
    trace = read_trace(folder)
    card = parse_card(trace.manifest)
    replies = parse_recorded_replies(trace.replies)
    # a trace that was killed before its first event holds no reply that could be about another case
    return ReplayModel(replies, replace(card, coords=coords or card.coords), trace.opened if trace.events else None)


@lru_cache(maxsize=2)
def _load_local(spec: str, coords: str | None, offline: bool) -> ChatModel:
    try:
        from ophiscope.models.local.load import load_local  # torch is an extra, and slow to import
    except ImportError as error:
        raise WrongInput(
            f"The model {spec!r} needs {error.name}, which is not installed; install ophiscope[local], "
            "or use --model openai:BASE_URL#NAME."
        ) from error
    return load_local(spec, coords=coords, offline=offline)


def build_segmenter(spec: str, *, offline: bool = False) -> Segmenter:
    """The segmenter that ``spec`` names; loaded once a process, or asked anew what it is where it is behind a server.

    Args:
        spec: ``nano-seg``, ``classical``, ``sam2:`` and a checkpoint directory or hub id, or ``remote:`` and a URL.
        offline: Whether nothing may be fetched, and no server asked.

    Raises:
        WrongInput: If the name is unknown, or what it needs is not there.
        ModelFailed: If a segmenter's server does not say in time what it is.
    """
    if spec.startswith(SCHEME):
        return build_named_segmenter(spec, offline=offline, key=os.environ.get(SEGMENTER_SERVER.key))
    return _load_segmenter(spec, offline)


@lru_cache(maxsize=2)
def _load_segmenter(spec: str, offline: bool) -> Segmenter:
    try:
        return build_named_segmenter(spec, offline=offline)
    except OSError as error:
        raise WrongInput(
            f"The weights of the segmenter {spec!r} are not in this installation; choose --segmenter classical."
        ) from error


def parse_recorded_replies(events: Sequence[ReplyEvent]) -> tuple[Reply, ...]:
    """The replies of a trace, as a model gave them."""
    return tuple(
        Reply(
            text=event.text,
            finish=FinishReason(event.finish),
            token_ids=event.token_ids,
            logprobs=event.logprobs,
            prompt_tokens=event.prompt_tokens,
            recomputed_tokens=event.recomputed_tokens,
            notes=event.notes,
        )
        for event in events
    )


def parse_card(manifest: Manifest) -> ModelCard:
    """The model's card in a manifest.

    Raises:
        CheckFailed: If it holds no card that this version understands.
    """
    try:
        return ModelCard(**manifest.model)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"The manifest's model card cannot be used: {error}.") from error


@dataclass(frozen=True, slots=True)
class SetupOptions:
    """What a user chooses beside the model, the segmenter and the case."""

    tools: str | tuple[str, ...] = "all"
    limits: Limits = Limits()  # noqa: RUF009 (frozen)
    temperature: float = 0.0
    prompt: Prompt | None = None
    """The card's own prompt where None."""


def build_setup(
    case: Case, model: ChatModel, segmenter: Segmenter | None, options: SetupOptions = SetupOptions()
) -> Setup:
    """Everything an episode of ``case`` needs beside the case."""
    card = model.card
    return Setup(
        card=card,
        profile=parse_profile(card.coords),
        prompt=options.prompt or read_prompt(card.prompt),
        tools=build_tools(options.tools, case),
        segmenter=segmenter,
        policy=ViewPolicy(card.patch_px, card.max_view_px, card.min_view_px, card.most_frames, card.frame_px),
        limits=options.limits,
        temperature=options.temperature,
        # a recording sends nothing, whatever server it was made with
        egress_host=None if isinstance(model, ReplayModel) else find_model_host(card),
        segmenter_host=find_segmenter_host(segmenter),
        spell=getattr(model, "spell", None),
    )


def find_model_host(card: ModelCard) -> str | None:
    """The host that a model's pictures are sent to, where that is not this machine."""
    if not card.name.startswith("openai:"):
        return None
    return parse_server_name(card.name).egress_host


def find_segmenter_host(segmenter: Segmenter | None) -> str | None:
    """The host that a segmenter sends pictures to, where that is not this machine."""
    if segmenter is None or not segmenter.name.startswith(SCHEME):
        return None
    return parse_segmenter_name(segmenter.name).egress_host


def check_egress(case: Case, setup: Setup, *, allowed: bool) -> None:
    """Refuse to send pictures made from DICOM to another machine, unless that is allowed.

    Raises:
        WrongInput: If it is not allowed.
    """
    check_sending(case.studies, {"model": setup.egress_host, "segmenter": setup.segmenter_host}, allowed=allowed)


def check_sending(studies: Sequence[Study], hosts: Mapping[str, str | None], *, allowed: bool) -> None:
    """:func:`check_egress` for pictures that no episode is about.

    Args:
        studies: What would be sent.
        hosts: To which other machine, by who it is (a model, a segmenter); None is this machine.
        allowed: Whether that is allowed.

    Raises:
        WrongInput: If it is not allowed.
    """
    dicom = [study.header.study for study in studies if study.header.media_type == "application/dicom"]
    marked = any(TEXT_ON_PIXELS in study.header.notes for study in studies)
    for who, host in hosts.items():
        if host is not None and dicom and not allowed:
            text = f" ({TEXT_ON_PIXELS})" if marked else ""
            raise WrongInput(
                f"{', '.join(dicom)} comes from DICOM{text}, and the {who} is on {host}, another machine; "
                f"add --allow-egress if its pictures may be sent there, or use a {who} on this machine."
            )


def check_recording(case: Case, model: ChatModel) -> None:
    """Refuse to let a recording answer for another case than its own; any other model may be asked anything.

    Raises:
        WrongInput: If the question, the options or the pictures are not those of the recording.
    """
    recorded = model.opened if isinstance(model, ReplayModel) else None
    if recorded is None:
        return
    question, options = clean_text(case.question), tuple(clean_text(option) for option in case.options)
    roots = [study.header.root for study in case.studies]
    differences = []
    if question != recorded.question:
        differences.append(f"the question was {recorded.question!r}, not {question!r}")
    if options != recorded.options:
        differences.append(f"the options were {list(recorded.options)}, not {list(options)}")
    if len(roots) != len(recorded.studies):
        differences.append(f"the pictures were {len(recorded.studies)}, not {len(roots)}")
    elif others := [study.study for study, root in zip(recorded.studies, roots, strict=True) if study.root != root]:
        differences.append(f"the picture {', '.join(others)} was another one")
    if differences:
        raise WrongInput(
            f"The recording is of another case: {'; '.join(differences)}. "
            "Ask just what was recorded, or choose another --model."
        )


def build_manifest(setup: Setup, *, seed: int) -> Manifest:
    """The manifest of an episode: what is fixed before its first event."""
    segmenter = setup.segmenter
    described: dict[str, JsonValue] = {}
    if segmenter is not None:
        targets: list[JsonValue] | None = None if segmenter.targets is None else list(segmenter.targets)
        described = {"name": segmenter.name, "weights_sha256": segmenter.weights_sha256, "targets": targets}
    return Manifest(
        ophiscope=ophiscope.__version__,
        versions=dict(_list_versions(_find_libraries(setup))),
        model=asdict(setup.card),
        segmenter=described,
        prompt_sha256=setup.prompt.sha256,
        tools=tuple(tool.name for tool in setup.tools),
        limits={**setup.limits.model_dump(mode="json"), "temperature": setup.temperature},
        seed=seed,
    )


def _find_libraries(setup: Setup) -> tuple[str, ...]:
    return _SERVER_LIBRARIES if setup.card.family == "openai" else _LOCAL_LIBRARIES


@lru_cache(maxsize=8)
def _list_versions(extra: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in (*_CORE_LIBRARIES, *extra):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
