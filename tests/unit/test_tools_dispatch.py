"""dispatch: every mistake of a call gets one line that helps, and nothing else gets through."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import BaseModel

from ophiscope.core.action import Call
from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.region import Box
from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.view import View
from ophiscope.core.window import Window
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.media.root import ArraySource, compute_root_id
from ophiscope.protocol.coords import PROFILES
from ophiscope.tools.arguments import Arguments, BoxNumbers, ViewHandle, render_schema, render_value
from ophiscope.tools.dispatch import compute_call_key, dispatch
from ophiscope.tools.measure import Measure
from ophiscope.tools.segment_box import SegmentBox
from ophiscope.tools.segment_text import SegmentText
from ophiscope.tools.tool import Look, Observation
from ophiscope.tools.window import SetWindow
from ophiscope.tools.zoom_in import ZoomIn

POLICY = ViewPolicy(16, 128 * 128, 96 * 96)
TOOLS = (ZoomIn(), SetWindow(), SegmentBox(), SegmentText(), Measure())
RELATIVE = PROFILES["relative_1000"]


def build_scalar_study(width: int = 400, height: int = 200) -> Study:
    stored = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint16)
    header = StudyHeader(
        study="S1",
        kind=StudyKind.IMAGE,
        root=compute_root_id(stored),
        size_wh=(width, height),
        channels=1,
        modality="CT",
        bits_stored=16,
        slope_intercept=(1.0, -100.0),
        value_range=(-100.0, float(width + height - 2) - 100.0),
        default_window=Window(200.0, 600.0),
    )
    return Study(header, ArraySource(stored, (1.0, -100.0)))


@pytest.fixture
def look() -> Look:
    study = build_scalar_study()
    overview = render_picture(study, compute_overview_frame(study.frame, POLICY))
    evidence = Evidence(id="E1", kind=EvidenceKind.REGION, study="S1", root=study.header.root, tool="zoom_in")
    return Look({"S1": study}, {1: View(1, overview)}, {"E1": evidence}, {}, POLICY, None)


def refuse(look: Look, name: str, arguments: Mapping[str, object]) -> ToolError:
    with pytest.raises(ToolError) as caught:
        dispatch(Call(name, arguments), TOOLS, look, RELATIVE)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 320
    return caught.value


def test_unknown_tool_names_the_tools(look: Look) -> None:
    error = refuse(look, "zoom", {"view": 1})
    assert error.code is ToolCode.UNKNOWN_TOOL
    assert "'zoom_in'" in str(error)
    assert "segment_text" in str(error)


@pytest.mark.parametrize(
    ("name", "arguments", "right"),
    [
        ("zoom_in", {"view": 1, "bbox": [0, 0, 9, 9]}, "box"),
        ("zoom_in", {"view": 1, "bbox_2d": [0, 0, 9, 9]}, "box"),
        ("zoom_in", {"image": 1, "box": [0, 0, 9, 9]}, "view"),
        ("segment_text", {"view": 1, "label": "polyp"}, "target"),
        ("window", {"view": 1, "centre": 3, "width": 4}, "center"),
        ("measure", {"evidence_id": "E1"}, "evidence"),
    ],
)
def test_misspelt_key_names_the_right_one(look: Look, name: str, arguments: dict[str, object], right: str) -> None:
    error = refuse(look, name, arguments)
    assert error.code is ToolCode.BAD_ARGUMENTS
    assert f"Did you mean {right!r}?" in str(error)


@pytest.mark.parametrize("view", ["1", 1.0, True, None, [1], {"a": 1}])
def test_a_view_that_is_no_integer_is_not_taken_for_one(look: Look, view: object) -> None:
    error = refuse(look, "zoom_in", {"view": view, "box": [0, 0, 500, 500]})
    assert error.code is ToolCode.BAD_ARGUMENTS
    assert "an integer" in str(error)


@pytest.mark.parametrize("view", [0, 2, -1, 10**5000], ids=["0", "2", "-1", "huge"])
def test_unknown_view_names_those_there_are(look: Look, view: int) -> None:
    error = refuse(look, "zoom_in", {"view": view, "box": [0, 0, 500, 500]})
    assert error.code is ToolCode.UNKNOWN_VIEW
    assert str(error).endswith("Views shown so far: 1.")


def test_unknown_evidence_names_those_there_are(look: Look) -> None:
    error = refuse(look, "zoom_in", {"view": 1, "box": [0, 0, 500, 500], "evidence": "E7"})
    assert error.code is ToolCode.UNKNOWN_EVIDENCE
    assert str(error).endswith("Evidence so far: E1.")


@pytest.mark.parametrize(
    "box",
    [
        [float("nan"), 0, 10, 10],
        [0, 0, float("inf"), 10],
        [500, 0, 100, 10],
        [0, 0, 0, 10],
        [1000, 0, 1200, 10],
        [-50, -50, 0, 100],
        [1e308, 0, 1.5e308, 10],
        [0, 0, 0.1, 0.1],
        [0, 0, 10**400, 10],
        [0, 0, 10],
        ["0", 0, 10, 10],
        [True, 0, 10, 10],
        "0,0,10,10",
        None,
    ],
    ids=render_value,
)
def test_bad_boxes(look: Look, box: object) -> None:
    assert refuse(look, "zoom_in", {"view": 1, "box": box}).code is ToolCode.BAD_BOX


def test_partly_outside_is_cut_and_said(look: Look) -> None:
    observation = dispatch(Call("zoom_in", {"view": 1, "box": [-100, 500, 250, 2000]}), TOOLS, look, RELATIVE)
    box = observation.facts["box"]
    assert isinstance(box, Box)
    assert box.root_xyxy == pytest.approx((0, 100, 100, 200))
    assert observation.notes == ("The box reached over the edge of view 1 and was cut there.",)


def test_absolute_profile_reads_pixels_of_the_view(look: Look) -> None:
    w, h = look.views[1].picture.frame.size_wh
    call = Call("zoom_in", {"view": 1, "box": [0, 0, w / 2, h / 4]})
    box = dispatch(call, TOOLS, look, PROFILES["absolute_px"]).facts["box"]
    assert isinstance(box, Box)
    assert box.root_xyxy == pytest.approx((0, 0, 200, 50))


class _BrokenArguments(Arguments):
    """Takes a box."""

    view: ViewHandle
    box: BoxNumbers


@dataclass(frozen=True)
class _Broken:
    """Fails as a server behind a tool would."""

    error: Exception
    name: str = "broken"
    summary: str = "Fails."
    arguments: type[BaseModel] = _BrokenArguments

    def run(self, arguments: object, look: Look) -> Observation:
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("http://10.0.0.7:8080/home/user/secret.png"), MemoryError(), KeyError("x"), RecursionError()]
)
def test_an_unforeseen_failure_is_neutral_and_kept_as_cause(look: Look, error: Exception) -> None:
    with pytest.raises(ToolError) as caught:
        dispatch(Call("broken", {"view": 1, "box": [0, 0, 500, 500]}), (_Broken(error),), look, RELATIVE)
    assert caught.value.code is ToolCode.TOOL_FAILED
    assert str(caught.value) == "broken failed and gave no result; nothing was changed."
    assert caught.value.__cause__ is error


def test_an_interrupt_is_not_swallowed(look: Look) -> None:
    @dataclass(frozen=True)
    class Stopped(_Broken):
        def run(self, arguments: object, look: Look) -> Observation:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dispatch(Call("broken", {"view": 1, "box": [0, 0, 500, 500]}), (Stopped(ValueError()),), look, RELATIVE)


def test_call_key_forgets_what_does_not_matter() -> None:
    one = Call("zoom_in", {"view": 1, "box": [10, 20, 30, 40]}, think="first")
    same = Call("zoom_in", {"box": [10.0, 20, 30, 40], "view": 1}, think="second")
    assert compute_call_key(one) == compute_call_key(same)
    assert compute_call_key(one) != compute_call_key(Call("zoom_in", {"view": 2, "box": [10, 20, 30, 40]}))
    assert compute_call_key(one) != compute_call_key(Call("zoom_in", {"view": 1, "box": [10, 20, 30, 41]}))
    assert compute_call_key(Call("t", {"target": "Polyp "})) == compute_call_key(Call("t", {"target": "polyp"}))
    assert compute_call_key(Call("t", {"a": True})) != compute_call_key(Call("t", {"a": 1}))


def test_call_key_is_total() -> None:
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), float("inf"), 10**6000, deep, "\ud800", {"a": {"b": None}}):
        assert compute_call_key(Call("zoom_in", {"view": value}))


@pytest.mark.parametrize("value", [10**6000, "x" * 10_000, float("nan"), [["a"] * 500], None], ids=list("abcde"))
def test_shown_values_are_short(value: object) -> None:
    assert len(render_value(value)) <= 40


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_schema_documents_every_argument(tool: ZoomIn) -> None:
    function = render_schema(tool)["function"]
    json.dumps(function)
    assert function["name"] == tool.name
    assert function["parameters"]["additionalProperties"] is False
    for argument in function["parameters"]["properties"].values():
        assert argument["description"]
        assert argument["type"] in {"integer", "number", "string", "array"}


def test_window_refuses_what_it_cannot_show(look: Look) -> None:
    assert refuse(look, "window", {"view": 1}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "center": 3}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "center": 3, "width": 0}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "center": float("nan"), "width": 5}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "center": 1e308, "width": 5}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "center": 3, "width": 5e-324}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "preset": "lung", "width": 5}).code is ToolCode.BAD_WINDOW
    assert refuse(look, "window", {"view": 1, "preset": "no such preset"}).code is ToolCode.BAD_WINDOW


def test_window_shows_the_same_place_at_another_level(look: Look) -> None:
    observation = dispatch(Call("window", {"view": 1, "center": 0, "width": 50.5}), TOOLS, look, RELATIVE)
    (picture,) = observation.pictures
    assert picture.frame == look.views[1].picture.frame
    assert picture.window == Window(0.0, 50.5)
    assert observation.facts == {"center": 0, "width": 50.5}
    assert set(np.unique(picture.pixels_H_W_3)) >= {0, 255}
    assert observation.finding is not None
    assert observation.finding.window == Window(0.0, 50.5)


def test_a_window_beside_every_value_is_said(look: Look) -> None:
    observation = dispatch(Call("window", {"view": 1, "center": 9000, "width": 10}), TOOLS, look, RELATIVE)
    assert observation.notes == ("No value of this study lies in that window; its values go from -100 to 498.",)


def test_zoom_keeps_the_window_of_the_called_view(look: Look) -> None:
    narrow = dispatch(Call("window", {"view": 1, "center": 50, "width": 20}), TOOLS, look, RELATIVE).pictures[0]
    then = Look(look.studies, {1: look.views[1], 2: View(2, narrow)}, {}, {}, POLICY, None)
    zoomed = dispatch(Call("zoom_in", {"view": 2, "box": [0, 0, 300, 300]}), TOOLS, then, RELATIVE)
    assert zoomed.pictures[0].window == Window(50.0, 20.0)


def test_without_a_segmenter_the_model_is_told(look: Look) -> None:
    assert refuse(look, "segment_box", {"view": 1, "box": [0, 0, 500, 500]}).code is ToolCode.NOT_APPLICABLE
    assert refuse(look, "segment_text", {"view": 1, "target": "polyp"}).code is ToolCode.NOT_APPLICABLE


def test_measure_needs_a_mask(look: Look) -> None:
    error = refuse(look, "measure", {"evidence": "E1"})
    assert error.code is ToolCode.NO_MASK
    assert "zoom_in" in str(error)
