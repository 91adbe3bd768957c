"""Questions about annotated pictures without a model, and trajectories of who answers them with tools."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study
from ophiscope.data.media_store import MediaStore
from ophiscope.data.picture_facts import PictureFacts, compute_overlaps, measure_region
from ophiscope.data.picture_questions import Drafted, write_picture_questions
from ophiscope.data.plan import BuildOptions, Plan, Produced, choose_split
from ophiscope.data.prints import render_print
from ophiscope.data.record import Origin, Record, RecordKind, Rejected, name_record
from ophiscope.data.sources.annotated import AnnotatedPicture, Unusable
from ophiscope.data.sources.pictures import list_pictures
from ophiscope.errors import MediaCode, MediaRejected, WrongInput
from ophiscope.media.deid import TEXT_ON_PIXELS
from ophiscope.media.render import render_picture
from ophiscope.media.study import read_study

__all__ = ["OpenedPicture", "draft_records", "find_source", "open_picture", "plan_picture_questions"]

_MOST_ASKED, _MOST_PAIRED = 12, 6
"""Targets of a picture that are asked about, and that are asked about by pairs: more would outweigh all else."""


def plan_picture_questions(options: BuildOptions, folder: Path) -> Plan:
    """``seg_pack_vqa`` and ``picture_vqa``: every question that masks answer.

    Raises:
        WrongInput: If the source holds nothing annotated.
    """
    pictures = list_pictures(find_source(options), license_=options.license)
    media = MediaStore(folder)

    def make(item: int) -> Produced:
        opened = open_picture(pictures[item], media)
        records = tuple(draft_records(opened, options))
        return Produced(records, opened.rejected, opened.prints)

    licenses = tuple(sorted({picture.license for picture in pictures}))
    return Plan(len(pictures), make, licenses, name=lambda item: pictures[item].key)


def find_source(options: BuildOptions) -> Path:
    if not options.source:
        raise WrongInput(f"{options.recipe} needs --source PATH.")
    path = Path(options.source)
    if not path.exists():
        raise WrongInput(f"The source {path} is not there.")
    return path


@dataclass(frozen=True, slots=True, eq=False)
class OpenedPicture:
    """An annotated picture at hand, its file in the set, and what could not be used of it."""

    given: AnnotatedPicture
    study: Study
    """As it was read."""
    file: str
    """Its pixels as they are kept, in the set."""
    pixels_H_W_3: NDArray[np.uint8]
    facts: PictureFacts
    rejected: tuple[Rejected, ...]

    @property
    def prints(self) -> Mapping[str, str]:
        """For near-duplicates."""
        return {self.file: render_print(self.pixels_H_W_3)}


def open_picture(given: AnnotatedPicture, media: MediaStore) -> OpenedPicture:
    """Read a picture and its masks, keep its pixels, and measure.

    Raises:
        MediaRejected: If the picture cannot be read.
    """
    study = _read(given)
    if TEXT_ON_PIXELS in study.header.notes:
        raise MediaRejected(MediaCode.UNSUPPORTED, f"{given.key}: {TEXT_ON_PIXELS}", TEXT_ON_PIXELS)
    pixels = render_picture(study, study.frame).pixels_H_W_3
    size_wh = study.header.size_wh
    rejected: list[Rejected] = []
    drawn: dict[str, list[NDArray[np.bool_]]] = {}
    single: dict[str, bool] = {}
    for region in given.regions:
        try:
            mask = region.load(size_wh)
            if not mask.any():
                raise Unusable("empty mask")
            if not region.target:
                raise Unusable("mask without a name")
        except Unusable as error:
            rejected.append(Rejected(item=given.key, stage="read", reason=error.reason, detail=error.detail))
            continue
        drawn.setdefault(region.target, []).append(mask)
        single[region.target] = region.instance
    masks = {target: np.logical_or.reduce(found) for target, found in drawn.items()}
    regions = [
        measure_region(target, mask, media.add_mask(mask), instances=len(drawn[target]) if single[target] else None)
        for target, mask in masks.items()
    ]
    if given.regions and not masks:
        rejected.append(Rejected(item=given.key, stage="read", reason="no usable annotation"))
    facts = PictureFacts(
        size_wh=size_wh,
        regions=tuple(region for region in regions if region is not None),
        absent=() if rejected else given.absent,
        modality=given.modality,
        site=given.site,
        spacing_mm=study.header.spacing_mm,
        overlaps=compute_overlaps(tuple(masks.values())) if 1 < len(masks) <= _MOST_PAIRED else (),
    )
    return OpenedPicture(given, study, media.add_picture(pixels), pixels, facts, tuple(rejected))


def _read(given: AnnotatedPicture) -> Study:
    if not given.path.exists():
        raise MediaRejected(MediaCode.MISSING, f"{given.key}: masks without their picture", "masks without picture")
    return read_study(given.path, slice_at=given.slice_at)


def draft_records(opened: OpenedPicture, options: BuildOptions) -> Iterator[Record]:
    """All questions of a picture as records."""
    rng = random.Random(f"{options.seed}/{opened.given.key}")
    facts = opened.facts
    if len(facts.regions) > _MOST_ASKED:
        facts = replace(facts, regions=tuple(rng.sample(facts.regions, _MOST_ASKED)), overlaps=())
    elif len(facts.regions) > _MOST_PAIRED:
        facts = replace(facts, overlaps=())
    for drafted in write_picture_questions(facts, rng):
        yield build_record(opened, drafted, options)


def build_record(opened: OpenedPicture, drafted: Drafted, options: BuildOptions) -> Record:
    """A drafted question with its provenance."""
    given = opened.given
    question = drafted.question
    if drafted.group == "length" and opened.facts.spacing_mm is not None:
        x, y = opened.facts.spacing_mm
        question += f" A pixel is {x:.3g} x {y:.3g} mm."
    return Record(
        id=name_record(options.recipe, given.source, given.key, question, *drafted.options),
        kind=RecordKind.QUESTION,
        origin=Origin(
            item=given.key,
            subject=given.subject,
            source=given.source,
            license=given.license,
            annotation=given.annotation,
            teacher="template",
        ),
        split=choose_split(given.subject, given.split, options.seed),
        media=opened.file,
        images=(opened.file,),
        question=question,
        answer=drafted.answer,
        options=drafted.options,
        mask=drafted.mask,
        boxes=drafted.boxes,
        group=drafted.group,
        modality=given.modality,
        target=drafted.target,
    )
