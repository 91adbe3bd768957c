"""Names to tools and segmenters."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest

from ophiscope.core.case import Case
from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.window import Window
from ophiscope.errors import WrongInput
from ophiscope.media.root import ArraySource, compute_root_id
from ophiscope.tools import registry
from ophiscope.tools.build import build_tools
from ophiscope.tools.registry import Registry
from ophiscope.tools.segmenters.build import build_segmenter


def build_case(*, colour: bool) -> Case:
    array = np.zeros((8, 8, 3) if colour else (8, 8), dtype=np.uint8)
    header = StudyHeader(
        study="S1",
        kind=StudyKind.IMAGE,
        root=compute_root_id(array),
        size_wh=(8, 8),
        channels=3 if colour else 1,
        default_window=None if colour else Window(128.0, 256.0),
    )
    return Case((Study(header, ArraySource(array)),), "What is it?")


def test_all_means_those_that_fit() -> None:
    scalar = [tool.name for tool in build_tools("all", build_case(colour=False))]
    colour = [tool.name for tool in build_tools("all", build_case(colour=True))]
    assert scalar == ["zoom_in", "window", "segment_box", "segment_text", "measure"]
    assert colour == ["zoom_in", "segment_box", "segment_text", "measure"]


def test_names_keep_their_order() -> None:
    case = build_case(colour=True)
    assert build_tools("none", case) == ()
    assert [tool.name for tool in build_tools("measure, zoom_in", case)] == ["measure", "zoom_in"]
    assert [tool.name for tool in build_tools(["window"], case)] == ["window"]


@pytest.mark.parametrize("names", ["", "zoom", "zoom_in,zoom_in", [], ["all", "zoom_in"]])
def test_wrong_names_are_refused_with_what_is_accepted(names: str | list[str]) -> None:
    with pytest.raises(WrongInput, match="zoom_in, window, segment_box, segment_text, measure"):
        build_tools(names, build_case(colour=True))


def test_entry_points_add_but_never_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("pi", "math:pi", "numbers"),
            EntryPoint("one", "math:e", "numbers"),
            EntryPoint("gone", "no_such_module:x", "numbers"),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", points.select)
    numbers = Registry("number", {"one": 1.0}, group="numbers")
    assert numbers.names == ("one", "gone", "pi")
    assert numbers.get("one") == 1.0
    assert numbers.get("pi") == pytest.approx(3.14159, abs=1e-4)
    with pytest.raises(WrongInput, match="cannot be loaded"):
        numbers.get("gone")
    with pytest.raises(WrongInput, match="did you mean 'pi'"):
        numbers.get("pii")


@pytest.mark.parametrize(
    ("spec", "text"), [("sam2:dir", "dir"), ("remote:ftp://x", "http and https"), ("sam", "remote:URL")]
)
def test_segmenters_that_cannot_be_built(spec: str, text: str) -> None:
    with pytest.raises(WrongInput, match=text):
        build_segmenter(spec)


def test_building_tools_needs_no_extra() -> None:
    code = (
        "import sys, ophiscope.tools.build, ophiscope.tools.dispatch, ophiscope.tools.segmenters.build; "
        "print([name for name in ('torch', 'skimage', 'scipy', 'transformers', 'httpx2') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
