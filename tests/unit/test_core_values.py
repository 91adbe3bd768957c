"""Values refuse what makes no sense, and say what they got and what they take."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

import ophiscope
from ophiscope import errors
from ophiscope.core.axis import AxisName, AxisUnit, Interval, Place
from ophiscope.core.case import Case
from ophiscope.core.chat import ModelCard
from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.frame import Frame
from ophiscope.core.region import Box
from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.core.trace import CallEvent, Event, RefusalEvent
from ophiscope.core.view import Picture
from ophiscope.core.window import Window
from ophiscope.media.sources import build_array_study

STUDY = build_array_study(np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_places_and_intervals_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Place(AxisName.TIME, value)
    with pytest.raises(ValueError, match="finite"):
        Interval(AxisUnit.POSITION_MM, 0.0, value)


@pytest.mark.parametrize("ends", [(2.0, 1.0), (1.0, 1.0)])
def test_an_interval_is_not_empty(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="start < end"):
        Interval(AxisUnit.TIME_S, *ends)
    assert Interval(AxisUnit.TIME_S, 1.0, 3.5).length == 2.5


@pytest.mark.parametrize(
    "frame",
    [
        {"size_wh": (0, 5)},
        {"size_wh": (5, -1)},
        {"scale_xy": (1.0, 0.0)},
        {"scale_xy": (math.nan, 1.0)},
        {"origin_xy": (0.0, math.inf)},
    ],
)
def test_a_frame_has_a_size_a_scale_and_a_place(frame: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Frame"):
        Frame(**({"root": "r", "size_wh": (4, 3)} | frame))


@pytest.mark.parametrize(
    "xyxy", [(0, 0, 5, 1), (-1, 0, 1, 1), (2, 0, 1, 1), (1, 1, 1, 2), (0, 0, math.nan, 1), (math.nan, 0, 1, 1)]
)
def test_a_box_lies_in_its_frame(xyxy: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="4x3 frame"):
        Box(Frame("r", (4, 3)), *xyxy)


def test_a_box_of_a_crop_in_literal_numbers() -> None:
    root = Frame("r", (1000, 600))
    crop = root.window((100, 50, 300, 150), (400, 400))
    assert crop.scale_xy == (0.5, 0.25)
    again = crop.window((200, 200, 400, 400), (100, 50))
    assert again.root_box_xyxy == (200, 100, 300, 150)
    assert Box(again, 10, 10, 20, 20).root_xyxy == (210, 110, 220, 120)
    assert Box(root, 210, 110, 220, 120).to(crop).xyxy == (220, 240, 240, 280)
    with pytest.raises(ValueError, match="outside its 400x400 frame"):
        Box(root, 0, 0, 50, 50).to(crop)


@pytest.mark.parametrize(("center", "width"), [(0.0, 0.0), (0.0, -1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_window_has_a_width(center: float, width: float) -> None:
    with pytest.raises(ValueError, match="width > 0"):
        Window(center, width)


@pytest.mark.parametrize(
    ("case", "word"),
    [
        ({"studies": ()}, "at least one study"),
        ({"question": " \n"}, "empty"),
        ({"options": ("yes",)}, "no choice"),
        ({"options": ("Yes", "yes ")}, "differ"),
        ({"options": ("yes", " ")}, "not be empty"),
    ],
)
def test_a_case_can_be_answered(case: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Case(**({"studies": (STUDY,), "question": "Is there a polyp?"} | case))


@pytest.mark.parametrize("pixels", [np.zeros((4, 3, 3), np.uint8), np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3))])
def test_a_picture_has_the_shape_of_its_frame(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(3, 4, 3\)"):
        Picture("S1", Frame("r", (4, 3)), pixels)


def test_what_reaches_disk_takes_no_unknown_field_and_cannot_change() -> None:
    header = StudyHeader(study="S1", kind=StudyKind.IMAGE, root="r", size_wh=(4, 3), channels=1)
    with pytest.raises(ValidationError, match="frozen"):
        header.study = "S2"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="patient"):
        StudyHeader(**(header.model_dump() | {"patient": "x"}))
    evidence = Evidence(id="E1", kind=EvidenceKind.REGION, study="S1", root="r", tool="zoom_in", window=Window(1, 2))
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence


def test_events_are_told_apart_by_their_name() -> None:
    adapter: TypeAdapter[Event] = TypeAdapter(Event)
    call = CallEvent(turn=1, name="zoom_in", arguments={"view": 1, "box": [0, 0, 10, 10]})
    refusal = RefusalEvent(turn=1, code="bad_box", text="the box is reversed")
    for event in (call, refusal):
        assert adapter.validate_json(event.model_dump_json()) == event
    with pytest.raises(ValidationError, match="tag"):
        adapter.validate_python({"event": "other"})


def test_a_model_card_is_ordered() -> None:
    facts: dict[str, Any] = {"name": "x", "family": "nano", "coords": "c", "prompt": "p", "token_exact": True}
    ModelCard(**facts, patch_px=16, max_view_px=100, min_view_px=100)
    with pytest.raises(ValueError, match="ordered"):
        ModelCard(**facts, patch_px=16, max_view_px=99, min_view_px=100)


def test_exit_codes_are_those_of_the_contract() -> None:
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__ if not name.endswith("Code")}
    assert codes == {
        "OphiscopeError": 1,
        "WrongInput": 2,
        "MediaRejected": 2,
        "CheckFailed": 1,
        "ModelFailed": 3,
        "DiskFailed": 74,
        "FolderInUse": 75,
        "Interrupted": 130,
        "ToolError": 1,
    }


def test_the_package_is_lazy() -> None:
    code = (
        "import sys, ophiscope; dir(ophiscope); sys.exit(any(m in sys.modules for m in ('numpy', 'pydantic', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert ophiscope.Box is Box
    with pytest.raises(AttributeError, match="it has"):
        _ = ophiscope.nothing
