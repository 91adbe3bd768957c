"""segment_box, segment_text and measure, with a segmenter whose every answer is known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.measure import Measure, compute_longest
from ophiscope.tools.segment_box import SegmentBox
from ophiscope.tools.segment_text import SegmentText
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight
from ophiscope.tools.segmenting import compute_mask, compute_working_frame
from ophiscope.tools.tool import Look, Observation
from ophiscope.tools.zoom_in import ZoomIn

POLICY = ViewPolicy(8, 96 * 96, 96 * 96)
TOOLS = (ZoomIn(), SegmentBox(), SegmentText(), Measure())
SPOT = (610, 130, 650, 150)
"""A bright rectangle, root pixels, in a picture of 800x300."""


@dataclass(frozen=True)
class Bright:
    """Takes bright pixels for the target; counts what it was shown."""

    presence: float | None = 0.9
    score: float = 0.8
    name: str = "bright"
    weights_sha256: str | None = "ab" * 32
    targets: tuple[str, ...] | None = ("spot", "breast tumor")
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        return Prediction(picture_H_W_3[:, :, 0].astype(np.float32) / 255.0, self.score, self.presence)


def build_study(*, colour: bool = True, spacing_mm: tuple[float, float] | None = None) -> Study:
    root = np.full((300, 800), 20, dtype=np.uint8)
    x0, y0, x1, y1 = SPOT
    root[y0:y1, x0:x1] = 240
    array = np.repeat(root[:, :, None], 3, axis=2) if colour else root
    header = StudyHeader(
        study="S1",
        kind=StudyKind.IMAGE,
        root=compute_root_id(array),
        size_wh=(800, 300),
        channels=3 if colour else 1,
        default_window=None if colour else Window(127.5, 255.0),
        spacing_mm=spacing_mm,
    )
    return Study(header, ArraySource(array))


def build_look(study: Study, segmenter: Bright) -> Look:
    overview = render_picture(study, compute_overview_frame(study.frame, POLICY))
    return Look({"S1": study}, {1: View(1, overview)}, {}, {}, POLICY, segmenter)


def call(look: Look, name: str, arguments: Mapping[str, object]) -> Observation:
    return dispatch(Call(name, arguments), TOOLS, look, PROFILES["relative_1000"])


def remember(look: Look, observation: Observation) -> Look:
    """What the loop does with an observation: give numbers to views and evidence."""
    found = observation.finding
    assert found is not None
    handle, name = max(look.views) + 1, f"E{len(look.evidence) + 1}"
    evidence = Evidence(id=name, kind=EvidenceKind.REGION, study="S1", root=found.root, tool="test")
    views = {**look.views, **{handle + i: View(handle + i, p) for i, p in enumerate(observation.pictures)}}
    masks = look.masks if found.mask is None else {**look.masks, name: found.mask}
    return replace(look, views=views, evidence={**look.evidence, name: evidence}, masks=masks)


def iou(mask: Mask | None, box: tuple[int, int, int, int]) -> float:
    assert mask is not None
    assert mask.box is not None
    truth = np.zeros((300, 800), dtype=np.bool_)
    truth[box[1] : box[3], box[0] : box[2]] = True
    x0, y0, x1, y1 = (round(v) for v in mask.box.root_xyxy)
    drawn = np.zeros_like(truth)
    drawn[y0:y1, x0:x1] = mask.tight().bits_H_W
    return float((drawn & truth).sum() / (drawn | truth).sum())


def test_segment_box_gives_mask_facts_and_overlay() -> None:
    look = build_look(build_study(), Bright())
    observation = call(look, "segment_box", {"view": 1, "box": [740, 400, 840, 540]})
    assert list(observation.facts) == ["box", "area_share", "score"]
    box = observation.facts["box"]
    assert isinstance(box, Box)
    assert box.frame == look.views[1].picture.frame
    assert box.root_xyxy == pytest.approx(SPOT, abs=1.01)
    assert observation.facts["area_share"] == pytest.approx(800 / 240_000, rel=0.05)
    found = observation.finding
    assert found is not None
    assert iou(found.mask, SPOT) > 0.9
    assert found.segmented is not None
    assert (found.segmented.segmenter, found.segmented.weights_sha256) == ("bright", "ab" * 32)
    (picture,) = observation.pictures
    assert picture.marked
    assert picture.frame == look.views[1].picture.frame


def test_a_segmenter_without_weights_is_labelled() -> None:
    look = build_look(build_study(), Bright(weights_sha256=None))
    observation = call(look, "segment_box", {"view": 1, "box": [740, 400, 840, 540]})
    assert observation.facts["segmenter"] == "bright"


def test_the_same_place_gives_the_same_mask_from_overview_and_zoom() -> None:
    look = build_look(build_study(), Bright())
    whole = call(look, "segment_box", {"view": 1, "box": [740, 400, 840, 540]}).finding
    look = remember(look, call(look, "zoom_in", {"view": 1, "box": [700, 300, 900, 700]}))
    x0, y0, x1, y1 = (
        Box(look.views[1].picture.frame, *_pixels(look, (740, 400, 840, 540))).to(look.views[2].picture.frame).xyxy
    )
    w, h = look.views[2].picture.frame.size_wh
    numbers = [x0 * 1000 / w, y0 * 1000 / h, x1 * 1000 / w, y1 * 1000 / h]
    zoomed = call(look, "segment_box", {"view": 2, "box": numbers}).finding
    assert whole is not None
    assert zoomed is not None
    assert whole.mask is not None
    assert zoomed.mask is not None
    assert whole.mask.frame == zoomed.mask.frame
    assert np.array_equal(whole.mask.bits_H_W, zoomed.mask.bits_H_W)


def _pixels(look: Look, numbers: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return PROFILES["relative_1000"].to_pixels(numbers, look.views[1].picture.frame)


def test_nothing_in_the_box() -> None:
    look = build_look(build_study(), Bright())
    observation = call(look, "segment_box", {"view": 1, "box": [0, 0, 100, 100]})
    assert observation.facts["box"] is None
    assert observation.facts["area_share"] == 0
    assert observation.pictures == ()
    assert observation.finding is not None
    assert observation.finding.mask is None
    assert observation.finding.box_root_xyxy is None
    assert observation.notes == ("No outline was found in the box.",)


def test_segment_text_reports_presence_and_target() -> None:
    look = build_look(build_study(), Bright())
    observation = call(look, "segment_text", {"view": 1, "target": "the breast tumour"})
    facts = observation.facts
    assert list(facts) == ["target", "presence", "present", "box", "area_share", "score"]
    assert facts["target"] == "breast tumor"
    assert facts["presence"] == 0.9
    assert facts["present"] is True
    assert observation.notes == ("'the breast tumour' was taken as 'breast tumor'.",)
    found = observation.finding
    assert found is not None
    assert found.segmented is not None
    assert (found.segmented.target, found.segmented.asked) == ("breast tumor", "the breast tumour")
    assert iou(found.mask, SPOT) > 0.9
    assert observation.pictures[0].marked


def test_absence_is_plain_and_leaves_no_mask() -> None:
    look = build_look(build_study(), Bright(presence=0.2))
    observation = call(look, "segment_text", {"view": 1, "target": "spot"})
    assert observation.facts["present"] is False
    assert observation.facts["box"] is None
    assert observation.facts["area_share"] == 0.0
    assert observation.notes == ("spot: absent in this view.",)
    assert observation.pictures == ()
    found = observation.finding
    assert found is not None
    assert (found.mask, found.box_root_xyxy, found.presence) == (None, None, 0.2)


def test_a_segmenter_that_cannot_tell_presence_is_judged_by_its_mask() -> None:
    study = build_study()
    told = call(build_look(study, Bright(presence=None)), "segment_text", {"view": 1, "target": "spot"})
    assert told.facts["presence"] is None
    assert told.facts["present"] is True


def test_text_searches_only_what_the_view_shows() -> None:
    look = build_look(build_study(), Bright())
    look = remember(look, call(look, "zoom_in", {"view": 1, "box": [0, 0, 200, 500]}))
    observation = call(look, "segment_text", {"view": 2, "target": "spot"})
    assert observation.facts["box"] is None
    assert observation.notes == ("spot: present, but not outlined.",)


def test_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ToolError) as caught:
        call(build_look(build_study(), Bright()), "segment_text", {"view": 1, "target": "tumour"})
    assert caught.value.code is ToolCode.UNKNOWN_TARGET
    assert "breast tumor" in str(caught.value)


def test_a_segmenter_of_boxes_only_says_so() -> None:
    with pytest.raises(ToolError) as caught:
        call(build_look(build_study(), Bright(targets=())), "segment_text", {"view": 1, "target": "spot"})
    assert caught.value.code is ToolCode.NOT_APPLICABLE
    assert "nano-seg" in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        Prediction(np.zeros((3, 3), dtype=np.float32), 0.5, 0.5),
        Prediction(np.full((96, 256), np.nan, dtype=np.float32), 0.5, 0.5),
        Prediction(np.zeros((96, 256), dtype=np.float32), float("nan"), 0.5),
        Prediction(np.zeros((96, 256), dtype=np.float32), 0.5, 7.0),
    ],
    ids=["shape", "nan mask", "nan score", "presence 7"],
)
def test_a_prediction_that_makes_no_sense_is_a_failed_tool(said: Prediction) -> None:
    class Broken(Bright):
        def predict(self, picture_H_W_3: NDArray[np.uint8], **prompt: object) -> Prediction:
            shape = picture_H_W_3.shape[:2]
            grown = (
                said.probability_H_W if said.probability_H_W.shape == (3, 3) else np.resize(said.probability_H_W, shape)
            )
            return said._replace(probability_H_W=grown)

    with pytest.raises(ToolError) as caught:
        call(build_look(build_study(), Broken()), "segment_box", {"view": 1, "box": [0, 0, 500, 500]})
    assert caught.value.code is ToolCode.TOOL_FAILED
    assert isinstance(caught.value.__cause__, ValueError)


def test_working_frames_have_whole_pixels_and_a_size_that_suits() -> None:
    root = build_study().frame
    for region in ((3.2, 4.7, 20.1, 9.9), (0.0, 0.0, 800.0, 300.0), (-50.0, 100.0, 900.0, 400.0)):
        frame = compute_working_frame(root, region, NEAR)
        x0, y0, x1, y1 = frame.root_box_xyxy
        assert (x0, y0) == (int(x0), int(y0))
        assert max(x1 - round(x1), y1 - round(y1)) == pytest.approx(0, abs=1e-6)
        assert x0 >= 0
        assert x1 <= 800
        assert 192 <= max(frame.size_wh) <= 512


def test_a_large_mask_stays_at_the_segmenters_scale() -> None:
    root = replace(build_study().frame, size_wh=(100_000, 80_000))
    frame = root.window((0.0, 0.0, 100_000.0, 80_000.0), (500, 400))
    probability = np.zeros((400, 500), dtype=np.float32)
    probability[10:20, 30:50] = 1.0
    mask = compute_mask(probability, frame)
    assert mask.bits_H_W.size == 200
    assert mask.box is not None
    assert mask.box.root_xyxy == pytest.approx((6000, 2000, 10_000, 4000))


def test_measure_on_clean_pixels_with_millimetres() -> None:
    study = build_study(colour=False, spacing_mm=(0.5, 2.0))
    look = build_look(study, Bright())
    look = remember(look, call(look, "segment_box", {"view": 1, "box": [740, 400, 840, 540]}))
    exact = Mask(study.frame.window((600, 100, 700, 200), (100, 100)), _rectangle(100, 100, (10, 30, 50, 50)))
    look = replace(look, masks={"E1": exact})
    observation = call(look, "measure", {"evidence": "E1"})
    found = observation.finding
    assert found is not None
    assert found.measures == "E1"
    assert observation.pictures == ()
    measured = found.measurement
    assert measured is not None
    assert measured.area_px == 800
    assert measured.area_share == pytest.approx(800 / 240_000)
    assert measured.extent_px == (40, 20)
    assert measured.centroid_xy == (630, 140)
    assert measured.mean_value == 240
    assert measured.area_mm2 == 800
    assert measured.extent_mm == (20, 40)
    assert measured.longest_mm == pytest.approx(np.hypot(20, 40))
    assert observation.facts["longest_mm"] == 44.7
    assert observation.notes == ()


def test_measure_without_spacing_says_why_there_are_no_millimetres() -> None:
    look = build_look(build_study(), Bright())
    look = remember(look, call(look, "segment_box", {"view": 1, "box": [740, 400, 840, 540]}))
    observation = call(look, "measure", {"evidence": "E1"})
    assert "area_mm2" not in observation.facts
    assert observation.notes == ("The size of a pixel is not known, so there are no millimetres.",)
    assert observation.facts["mean_value"] == pytest.approx(240, abs=8)


def test_zoom_draws_the_contour_of_an_evidence_when_asked() -> None:
    look = build_look(build_study(), Bright())
    look = remember(look, call(look, "segment_box", {"view": 1, "box": [740, 400, 840, 540]}))
    arguments = {"view": 1, "box": [740, 400, 840, 540]}
    plain = call(look, "zoom_in", arguments).pictures[0]
    marked = call(look, "zoom_in", {**arguments, "evidence": "E1"}).pictures[0]
    assert not plain.marked
    assert marked.marked
    assert plain.frame == marked.frame
    assert (plain.pixels_H_W_3 != marked.pixels_H_W_3).any()
    away = call(look, "zoom_in", {"view": 1, "box": [0, 0, 100, 300], "evidence": "E1"})
    assert not away.pictures[0].marked
    assert away.notes == ("The mask of E1 lies outside this view.",)


def _rectangle(width: int, height: int, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    bits = np.zeros((height, width), dtype=np.bool_)
    bits[box[1] : box[3], box[0] : box[2]] = True
    return bits


def test_longest_diameter_of_a_ring_is_its_outer_one() -> None:
    yy, xx = np.mgrid[:101, :101] - 50.0
    radius = np.hypot(xx, yy)
    assert compute_longest((radius <= 40) & (radius > 30), (1.0, 1.0)) == pytest.approx(81, abs=1)
    with pytest.raises(ValueError, match="empty"):
        compute_longest(np.zeros((3, 3), dtype=np.bool_), (1.0, 1.0))
