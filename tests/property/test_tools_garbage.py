"""Whatever a model writes, a call ends in an observation or a ToolError that it can read."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ophiscope.core.action import Call
from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.region import Mask
from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.view import View
from ophiscope.core.window import Window
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.media.root import ArraySource
from ophiscope.protocol.coords import PROFILES
from ophiscope.protocol.observation import render_observation
from ophiscope.tools.build import TOOLS
from ophiscope.tools.dispatch import compute_call_key, dispatch
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight
from ophiscope.tools.segmenters.vocabulary import resolve_target
from ophiscope.tools.tool import Look

POLICY = ViewPolicy(16, 64 * 64, 32 * 32)
TOOL_LIST = tuple(TOOLS.get(name).build() for name in TOOLS.names)
NUMBERS = st.one_of(
    st.integers(-50, 1050),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-10, 1010),
    st.sampled_from([10**400, -(10**30), 1e308, 5e-324, True, None, "5"]),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "view": st.one_of(st.integers(0, 2), JSON),
        "box": st.one_of(st.lists(NUMBERS, min_size=4, max_size=4), JSON),
        "evidence": st.one_of(st.sampled_from(["E1", "E2"]), JSON),
        "target": st.one_of(st.sampled_from(["spot", "Spots", "polyp"]), JSON),
        "preset": st.one_of(st.sampled_from(["lung", "full"]), JSON),
        "center": NUMBERS,
        "width": NUMBERS,
        "colour": JSON,
    },
)
NAMES = st.one_of(st.sampled_from(TOOLS.names), st.text(max_size=12))


class Bright:
    """Takes bright pixels for the target."""

    name = "bright"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = ("spot",)
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        return Prediction(picture_H_W_3[:, :, 0].astype(np.float32) / 255.0, 0.5, 0.6)


def build_look() -> Look:
    stored = np.zeros((40, 90), dtype=np.uint16)
    stored[10:20, 30:60] = 4000
    header = StudyHeader(
        study="S1",
        kind=StudyKind.IMAGE,
        root="r",
        size_wh=(90, 40),
        channels=1,
        modality="CT",
        default_window=Window(2000.0, 4000.0),
        value_range=(0.0, 4000.0),
        spacing_mm=(0.5, 1.5),
    )
    study = Study(header, ArraySource(stored))
    overview = render_picture(study, compute_overview_frame(study.frame, POLICY))
    evidence = Evidence(id="E1", kind=EvidenceKind.REGION, study="S1", root="r", tool="segment_box")
    mask = Mask(study.frame, stored > 0).tight()
    return Look({"S1": study}, {1: View(1, overview)}, {"E1": evidence}, {"E1": mask}, POLICY, Bright())


LOOK = build_look()


@settings(max_examples=400, deadline=None)
@given(NAMES, ARGUMENTS, st.sampled_from(sorted(PROFILES)))
def test_every_call_is_served_or_refused_in_one_line(name: str, arguments: dict[str, object], profile: str) -> None:
    call = Call(name, arguments)
    assert compute_call_key(call)
    try:
        observation = dispatch(call, TOOL_LIST, LOOK, PROFILES[profile])
    except ToolError as error:
        code, text = error.code, str(error)
    else:
        told = render_observation(observation.facts, profile=PROFILES[profile], notes=observation.notes)
        assert "NaN" not in told
        assert "\n" not in told
        return
    assert code is not ToolCode.TOOL_FAILED
    assert "\n" not in text
    assert len(text) <= 400


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_a_target_is_understood_or_refused(asked: str) -> None:
    try:
        assert resolve_target(asked, ("polyp", "liver", "kidney left")) in ("polyp", "liver", "kidney left")
    except ToolError as error:
        code = error.code
    else:
        return
    assert code is ToolCode.UNKNOWN_TARGET
