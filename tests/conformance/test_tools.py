"""What every tool keeps to: one suite over all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from ophiscope.core.action import Call
from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.region import Box, Mask
from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.view import View
from ophiscope.core.window import Window
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.media.root import ArraySource, compute_root_id
from ophiscope.protocol.coords import PROFILES
from ophiscope.protocol.observation import render_observation
from ophiscope.tools.arguments import render_schema
from ophiscope.tools.build import TOOLS
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight
from ophiscope.tools.tool import Look, Observation, Tool
from stacks import build_video, build_volume

POLICY = ViewPolicy(16, 160 * 160, 96 * 96)
PROFILE = PROFILES["relative_1000"]
NAMES = TOOLS.names
GOOD_CALLS: dict[str, dict[str, object]] = {
    "zoom_in": {"view": 2, "box": [200, 300, 700, 800], "evidence": "E1"},
    "window": {"view": 2, "center": 900, "width": 400},
    "segment_box": {"view": 2, "box": [100, 100, 900, 900]},
    "segment_text": {"view": 2, "target": "disc"},
    "measure": {"evidence": "E1"},
    "crop_video": {"start_s": 3.5, "end_s": 7.25, "study": "S2"},
    "get_frame": {"time_s": 3.5, "study": "S2"},
    "crop_stack": {"axis": "axial", "start_mm": -20.5, "end_mm": 20.0, "study": "S3"},
    "get_slice": {"axis": "coronal", "position_mm": -20.5, "study": "S3"},
}
"""One call per tool that must succeed; a new tool needs one here."""


@dataclass(frozen=True)
class Bright:
    """Takes bright pixels for the target."""

    name: str = "bright"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = ("disc",)
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        return Prediction(picture_H_W_3[:, :, 0].astype(np.float32) / 255.0, 0.7, 0.9)


def build_look() -> Look:
    """A scalar study of unequal sides with a bright disc; view 1 shows all of it, view 2 the disc; E1 is its mask.

    Beside it a video and a volume.
    """
    yy, xx = np.mgrid[:240, :420]
    disc = np.hypot(xx - 300, yy - 100) <= 30
    stored = np.where(disc, 1800, 200).astype(np.uint16)
    header = StudyHeader(
        study="S1",
        kind=StudyKind.IMAGE,
        root=compute_root_id(stored),
        size_wh=(420, 240),
        channels=1,
        modality="CT",
        bits_stored=16,
        slope_intercept=(1.0, -100.0),
        value_range=(100.0, 1700.0),
        default_window=Window(900.0, 1800.0),
        spacing_mm=(0.5, 0.7),
    )
    study = Study(header, ArraySource(stored, (1.0, -100.0)))
    overview = render_picture(study, compute_overview_frame(study.frame, POLICY))
    part = study.frame.window((240, 40, 368, 168), (96, 96))
    evidence = Evidence(id="E1", kind=EvidenceKind.REGION, study="S1", root=header.root, tool="segment_box")
    views = {1: View(1, overview), 2: View(2, render_picture(study, part))}
    mask = Mask(study.frame, disc).tight()
    studies = {"S1": study, "S2": build_video("S2"), "S3": build_volume("S3")}
    return Look(studies, views, {"E1": evidence}, {"E1": mask}, POLICY, Bright())


_INSIDE: dict[str, list[dict[str, object]]] = {
    "crop_video": [{**GOOD_CALLS["crop_video"], "start_s": at} for at in (-1, 0)]
    + [{**GOOD_CALLS["crop_video"], "end_s": 99}],
    "get_frame": [{**GOOD_CALLS["get_frame"], "time_s": 0}],
    "crop_stack": [{**GOOD_CALLS["crop_stack"], "start_mm": at} for at in (-1, 0)]
    + [{**GOOD_CALLS["crop_stack"], "end_mm": at} for at in (-1, 0, 99)],
    "get_slice": [{**GOOD_CALLS["get_slice"], "position_mm": at} for at in (-1, 0)],
}
"""Among the junk, what is a place in its study; a stretch may reach over an end, and is cut."""


def build(name: str) -> Tool:
    return TOOLS.get(name).build()


def call(look: Look, name: str, arguments: Mapping[str, object]) -> Observation:
    return dispatch(Call(name, arguments), (build(name),), look, PROFILE)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_schema(name: str) -> None:
    tool = build(name)
    assert tool.name == name
    assert tool.summary.endswith(".")
    assert "\n" not in tool.summary
    parameters = render_schema(tool)["function"]["parameters"]
    jsonschema.Draft202012Validator.check_schema(parameters)
    jsonschema.validate(GOOD_CALLS[name], parameters)
    assert set(parameters["properties"]) == set(tool.arguments.model_fields)
    assert all(argument["description"] for argument in parameters["properties"].values())


@pytest.mark.parametrize("name", NAMES)
def test_no_argument_names_a_file_or_an_address(name: str) -> None:
    for key in build(name).arguments.model_fields:
        assert not {"path", "file", "url", "uri", "server", "host", "dir"} & set(key.split("_"))


@pytest.mark.parametrize("name", NAMES)
def test_an_observation_is_whole(name: str) -> None:
    look = build_look()
    observation = call(look, name, GOOD_CALLS[name])
    called = look.views[2].picture.frame
    for value in observation.facts.values():
        assert not isinstance(value, Box) or value.frame == called
    text = render_observation(observation.facts, profile=PROFILE, evidence="E2", views=(3,), notes=observation.notes)
    assert text.startswith("{")
    for picture in observation.pictures:
        still = look.studies[picture.study].at(picture.place)
        assert picture.frame.root == still.header.root
        assert (picture.window is None) == (still.header.channels == 3)
        width, height = still.header.size_wh
        x0, y0, x1, y1 = picture.frame.root_box_xyxy
        assert min(x0, y0) >= -1e-6
        assert x1 <= width + 1e-6
        assert y1 <= height + 1e-6
        assert all(side % POLICY.patch_px == 0 for side in picture.frame.size_wh)
        assert picture.frame.size_wh[0] * picture.frame.size_wh[1] <= POLICY.max_view_px
    found = observation.finding
    assert found is not None
    assert found.root == look.studies[found.study].header.root
    if found.box_root_xyxy is not None:
        x0, y0, x1, y1 = found.box_root_xyxy
        assert 0 <= x0 < x1 <= 420
        assert 0 <= y0 < y1 <= 240
    if found.mask is not None:
        assert found.mask.frame.root == found.root
        assert found.mask.box is not None
        assert found.mask.box.root_xyxy == found.box_root_xyxy


@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_gives_the_same_thing(name: str) -> None:
    first, second = (call(build_look(), name, GOOD_CALLS[name]) for _ in range(2))
    assert first.facts == second.facts
    assert first.notes == second.notes
    for one, other in zip(first.pictures, second.pictures, strict=True):
        assert one.frame == other.frame
        assert np.array_equal(one.pixels_H_W_3, other.pixels_H_W_3)


@pytest.mark.parametrize("name", NAMES)
def test_shown_pixels_are_never_read_back(name: str) -> None:
    """Views painted over with noise change nothing: tools work on clean pixels of the study."""
    look = build_look()
    noise = np.random.default_rng(0)
    painted = {}
    for handle, view in look.views.items():
        pixels = noise.integers(0, 256, view.picture.pixels_H_W_3.shape, dtype=np.uint8)
        painted[handle] = View(handle, replace(view.picture, pixels_H_W_3=pixels, marked=True))
    clean = call(look, name, GOOD_CALLS[name])
    dirty = call(replace(look, views=painted), name, GOOD_CALLS[name])
    assert clean.facts == dirty.facts
    for one, other in zip(clean.pictures, dirty.pictures, strict=True):
        assert np.array_equal(one.pixels_H_W_3, other.pixels_H_W_3)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_calls_are_refused_and_never_crash(name: str) -> None:
    look = build_look()
    good = GOOD_CALLS[name]
    wrong: list[dict[str, object]] = [{}, {**good, "colour": 1}]
    junk: list[object] = [
        None,
        "",
        "2",
        -1,
        0,
        99,
        1e400,
        float("nan"),
        [],
        {},
        [[0] * 4],
        "E9",
        [0, 0, 0, 0],
        "x" * 9999,
    ]
    wrong += [{**good, key: value} for key in good for value in junk]
    for arguments in wrong:
        if name == "window" and arguments.keys() == good.keys() and arguments["center"] in (-1, 0, 99):
            continue  # a level beside every value is allowed, and said
        if name == "window" and arguments.keys() == good.keys() and arguments["width"] == 99:
            continue
        if name == "zoom_in" and arguments.get("evidence", 0) is None:
            continue  # the same as leaving it out
        if arguments in ({**good, "study": None}, *_INSIDE.get(name, ())):
            continue
        with pytest.raises(ToolError) as caught:
            call(look, name, arguments)
        assert caught.value.code is not ToolCode.TOOL_FAILED, arguments
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) <= 400
