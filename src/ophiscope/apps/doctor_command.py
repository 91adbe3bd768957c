"""``ophiscope doctor``: what works here, how to fix what does not, and which coordinates a model really uses."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

from PIL import features

from ophiscope import __version__
from ophiscope.agent.assemble import build_model, build_segmenter
from ophiscope.agent.probe import ProbeReport, probe_coords
from ophiscope.agent.source_paths import find_state_folder
from ophiscope.apps.terminal import print_json, print_lines
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.media.dicom_codecs import list_decoders
from ophiscope.media.limits import LIMITS_VARIABLE, read_limits
from ophiscope.media.sniff import ACCEPTED
from ophiscope.net.address import MODEL_SERVER, SEGMENTER_SERVER

__all__ = ["run_doctor"]

_CORE = ("numpy", "pillow", "pydicom", "nibabel", "pydantic", "typer", "httpx2", "jinja2", "rfc8785")
_LOCAL = ("torch", "transformers", "tokenizers", "safetensors", "scikit-image")
_IMPORT_NAMES = {"pillow": "PIL", "scikit-image": "skimage"}


class _Check(NamedTuple):
    name: str
    ok: bool
    needed: bool
    """Whether nothing works without it."""
    found: str
    fix: str = ""


def run_doctor(model: str | None, *, coords: str | None, as_json: bool) -> int:
    """Look, print, and give the exit code: 0 fine, 1 something needed is missing or the model's profile fits worse.

    Raises:
        WrongInput: If the model's name cannot be used.
        ModelFailed: If the model gives no reply.
    """
    if coords is not None and model is None:
        raise WrongInput(f"--coords {coords} says how a model writes places; name the model with --model.")
    checks = list(_check_all())
    report = probe_coords(build_model(model, coords=coords)) if model is not None else None
    sound = all(check.ok for check in checks if check.needed)
    refused = report is not None and report.refused
    if as_json:
        print_json(_render_json(checks, model, report, sound=sound))
    else:
        print_lines(*_render_lines(checks, model, report))
    return 0 if sound and not refused else 1


def _check_all() -> Iterator[_Check]:
    yield _Check("python", True, True, platform.python_version())
    for name in _CORE:
        yield _check_library(name, needed=True, fix="pip install ophiscope")
    for name in _LOCAL:
        yield _check_library(name, needed=False, fix="pip install 'ophiscope[local]' (for nano, hf: and nano-seg)")
    for name, there in list_decoders().items():
        yield _Check(f"DICOM {name}", there, False, _say(there), "" if there else "pip install 'ophiscope[dicom]'")
    yield from _check_formats()
    yield from _check_segmenters()
    if find_spec("torch") is not None:
        yield _check_built("model nano", lambda: build_model("nano"))
        yield _check_built("model nano-video", lambda: build_model("nano-video"))
        yield _check_built("segmenter nano-seg", lambda: build_segmenter("nano-seg"))
    yield _check_state_folder()
    for peer in (MODEL_SERVER, SEGMENTER_SERVER):
        key = "set" if os.environ.get(peer.key) else "not set (only servers that ask for one need it)"
        yield _Check(peer.key, True, False, key)


def _check_formats() -> Iterator[_Check]:
    yield _Check("files", True, True, f"{ACCEPTED}; folders of DICOM files; whole slides (SVS, tiled TIFF, DICOM)")
    nrrd = find_spec("nrrd") is not None
    yield _Check("NRRD volumes", nrrd, False, _say(nrrd), "" if nrrd else "pip install 'ophiscope[volume]'")
    for name, feature in (("compressed TIFF and slides", "libtiff"), ("JPEG 2000 in slides", "jpg_2000")):
        there = bool(features.check(feature))
        yield _Check(name, there, False, _say(there), "" if there else "install a Pillow that was built with it")


def _check_segmenters() -> Iterator[_Check]:
    for name, module, how in (
        ("segmenter classical", "skimage", "named classical"),
        ("segmenter sam2", "transformers", "named sam2:DIR_OR_HUB_ID, a SAM 2 checkpoint"),
    ):
        there = find_spec(module) is not None
        yield _Check(
            name, there, False, how if there else _say(there), "" if there else "pip install 'ophiscope[local]'"
        )
    yield _Check("segmenter remote", True, False, "named remote:URL, any service of docs/segmenter-http.md")


def _say(there: bool) -> str:
    return "its decoder is there" if there else "not installed"


def _check_library(name: str, *, needed: bool, fix: str) -> _Check:
    try:
        present = find_spec(_IMPORT_NAMES.get(name, name)) is not None
        return _Check(name, present, needed, version(name), "" if present else fix)
    except (PackageNotFoundError, ImportError, ValueError):
        return _Check(name, False, needed, "not installed", fix)


def _check_built(name: str, build: Any) -> _Check:
    try:
        build()
    except (OphiscopeError, OSError) as error:
        return _Check(name, False, False, "cannot be loaded", str(error))
    return _Check(name, True, False, "loads")


def _check_state_folder() -> _Check:
    folder = find_state_folder() / "traces"
    at = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    writable = at.is_dir() and os.access(at, os.W_OK)
    return _Check("trace folder", writable, False, str(folder), "" if writable else "give --out, or set XDG_STATE_HOME")


def _render_json(checks: list[_Check], model: str | None, report: ProbeReport | None, *, sound: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ophiscope": __version__,
        "sound": sound,
        "checks": [check._asdict() for check in checks],
        "limits": dict(line.split(" = ", 1) for line in str(read_limits()).splitlines()),
        "model": None,
    }
    if report is not None:
        found["model"] = {
            "name": model,
            "coords": report.profile,
            "best": report.best if report.conclusive else None,
            "refused": report.refused,
            "pictures": report.pictures,
            "boxes": report.boxes,
            "iou": {name: round(iou, 4) for name, iou in report.iou_by_profile.items()},
        }
    return found


def _render_lines(checks: list[_Check], model: str | None, report: ProbeReport | None) -> list[str]:
    lines = [f"ophiscope {__version__}"]
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.needed else "--"
        lines.append(f"  {mark:8}{check.name}: {check.found}" + (f"; {check.fix}" if check.fix else ""))
    lines += [
        f"Limits of files (changed with {LIMITS_VARIABLE}=name=number,...):",
        *(f"  {line}" for line in str(read_limits()).splitlines()),
    ]
    if report is not None:
        lines.append(f"Model {model}: {report.boxes} boxes on {report.pictures} marked pictures; mean IoU by profile:")
        ranked = sorted(report.iou_by_profile.items(), key=lambda entry: -entry[1])
        lines += [f"  {iou:.3f}  {name}{' (in use)' if name == report.profile else ''}" for name, iou in ranked]
        lines.append(_conclude(report))
    return lines


def _conclude(report: ProbeReport) -> str:
    if not report.conclusive:
        return "No profile fits: the model did not find the squares, so nothing is said about its coordinates."
    if report.refused:
        return f"Refused: {report.profile} fits worse than {report.best}; run it with --coords {report.best}."
    return f"{report.profile} fits."
