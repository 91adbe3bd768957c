"""Degrees of agreement between what was answered or cited and what is true: one number for each name.

=====================  ================================================================================================
``exact f1 recall``    words of a text answer in normal form (:mod:`ophiscope.metrics.answers`)
``dice iou``           of a mask; 0 where none was given
``shared union``       its pixels, from which cIoU is summed
``hd95_px``            95th percentile of surface distance in root pixels; the image's diagonal where no mask was given
``empty``              where the truth is an empty mask: 1 if none was found, 0 if one was; nothing else then
``box_iou``            of a box
``tiou iop iog``       of a stretch of time or depth: intersection over union, over what was said, over what is true
``evidence``           how well the *cited* evidence shows what had to be looked at (:mod:`ophiscope.metrics.evidence`)
``visited``            the same of everything that was looked at, cited or not
``evidence_iop`` ...   ``iop``, ``iou`` and ``iog`` of the cited places taken together with the true ones; ``iop`` is 0
                       where nothing is cited
``event_f1``           of a description
=====================  ================================================================================================
"""

from collections.abc import Sequence

from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit
from ophiscope.core.evidence import Evidence
from ophiscope.core.region import Mask
from ophiscope.core.result import Result, ResultKind
from ophiscope.metrics.answers import compute_text_scores, render_words
from ophiscope.metrics.evidence import compute_evidence_score
from ophiscope.metrics.overlap import (
    Overlap,
    compute_box_overlap,
    compute_interval_overlap,
    compute_mask_counts,
    compute_overlap,
    compute_union_iou,
    compute_union_overlap,
)
from ophiscope.metrics.surface import compute_hd95

__all__ = ["compute_marks"]


def compute_marks(outcome: Outcome, key: AnswerKey) -> dict[str, float]:
    """All marks that the kind of question and its key admit; none is made up where the truth is not known."""
    result = outcome.result
    marks: dict[str, float] = {}
    if key.kind is ResultKind.TEXT and key.text.strip():
        marks |= _mark_text(result, key)
    if key.kind is ResultKind.MASK and key.mask is not None:
        said = outcome.masks.get(result.evidence) if result is not None and result.evidence is not None else None
        marks |= _mark_mask(said, key.mask, result)
    if key.kind is ResultKind.BOX and key.evidence_boxes:
        box = result.box_xyxy if result is not None else None
        marks["box_iou"] = compute_box_overlap(box, key.evidence_boxes[0].root_xyxy).iou or 0.0
    if key.kind is ResultKind.INTERVAL and key.evidence_interval is not None:
        marks |= _mark_interval(result, key)
    return marks | _mark_evidence(outcome, key)


def _mark_text(result: Result | None, key: AnswerKey) -> dict[str, float]:
    said = "" if result is None else render_words(result) or ""
    scores = compute_text_scores(said, key.text) if said else None
    if scores is None:
        return {"exact": 0.0, "f1": 0.0, "recall": 0.0}
    return {"exact": float(scores.exact), "f1": scores.f1, "recall": scores.recall}


def _mark_mask(said: Mask | None, true: Mask, result: Result | None) -> dict[str, float]:
    if said is not None and said.frame.root != true.frame.root:
        said = None
    if not true.bits_H_W.any():
        nothing = result is not None and (said is None or not said.bits_H_W.any())
        return {"empty": float(nothing)}
    bits_H_W = None if said is None else said.sample(true.frame)
    spacing_yx = (true.frame.scale_xy[1], true.frame.scale_xy[0])
    hd95_px = compute_hd95(bits_H_W, true.bits_H_W, spacing_yx=spacing_yx)
    if said is None:
        return {"dice": 0.0, "iou": 0.0, "shared": 0.0, "union": true.area_root_px, "hd95_px": hd95_px or 0.0}
    counts = compute_mask_counts(said, true)
    overlap = compute_overlap(counts)
    return {
        "dice": overlap.dice or 0.0, "iou": overlap.iou or 0.0, "shared": counts.shared, "union": counts.union,
        "hd95_px": hd95_px or 0.0,
    }  # fmt: skip


def _mark_interval(result: Result | None, key: AnswerKey) -> dict[str, float]:
    assert key.evidence_interval is not None
    in_seconds = key.evidence_interval.unit is AxisUnit.TIME_S
    said = None if result is None else result.interval_s if in_seconds else result.interval_mm
    overlap = compute_interval_overlap(said, [(key.evidence_interval.start, key.evidence_interval.end)])
    return {"tiou": overlap.iou or 0.0, "iop": overlap.iop or 0.0, "iog": overlap.iog or 0.0}


def _mark_evidence(outcome: Outcome, key: AnswerKey) -> dict[str, float]:
    names = outcome.answer.cited if outcome.answer else ()
    cited = [entry for entry in outcome.evidence if entry.id in names]
    score, visited = compute_evidence_score(cited, key), compute_evidence_score(outcome.evidence, key)
    if score is None or visited is None:
        return {}
    overlap = _compute_place_overlap(cited, key)
    return {
        "evidence": score, "visited": visited, "evidence_iop": overlap.iop or 0.0,
        "evidence_iou": overlap.iou or 0.0, "evidence_iog": overlap.iog or 0.0,
    }  # fmt: skip


def _compute_place_overlap(cited: Sequence[Evidence], key: AnswerKey) -> Overlap:
    """Of everything cited, taken together, with everything true."""
    if key.evidence_boxes:
        roots = {box.frame.root for box in key.evidence_boxes}
        places = [entry.box_xyxy for entry in cited if entry.box_xyxy is not None and entry.root in roots]
        return compute_union_overlap(places, [box.root_xyxy for box in key.evidence_boxes])
    assert key.evidence_interval is not None
    in_seconds = key.evidence_interval.unit is AxisUnit.TIME_S
    true = (key.evidence_interval.start, key.evidence_interval.end)
    stretches = [entry.interval_s if in_seconds else entry.interval_mm for entry in cited]
    watched = [stretch for stretch in stretches if stretch is not None]
    if not watched:
        return Overlap(0.0, 0.0, 0.0, 0.0)
    best = max((compute_interval_overlap(stretch, [true]) for stretch in watched), key=lambda one: one.iou or 0.0)
    return best._replace(iou=compute_union_iou(watched, true))
