"""Trajectories about annotated pictures: who answers by tools what their masks can judge."""

from pathlib import Path

from ophiscope.agent.assemble import (
    SetupOptions,
    build_model,
    build_segmenter,
    build_setup,
    check_sending,
    find_model_host,
)
from ophiscope.core.chat import ChatModel
from ophiscope.data.episodes import judge_episode, keep_episode, play, pose_record
from ophiscope.data.media_store import MediaStore
from ophiscope.data.plan import BuildOptions, Plan, Produced
from ophiscope.data.record import Record, Rejected
from ophiscope.data.sources.pictures import list_pictures
from ophiscope.data.teacher import build_teacher
from ophiscope.recipes.nano.real_tasks import RealAsk, RealKind, build_real_oracle
from ophiscope.recipes.sets.cards import CARDS
from ophiscope.recipes.sets.pictures import draft_records, find_source, open_picture

__all__ = ["plan_picture_trajectories"]

_ASKED = {"presence": RealKind.PRESENCE, "where": RealKind.WHERE, "outline": RealKind.OUTLINE}
"""What a script can answer by tools alone: it knows what the words ask for, and nothing of the picture."""


def plan_picture_trajectories(options: BuildOptions, folder: Path) -> Plan:
    """``seg_pack_trajectories`` and ``picture_trajectories``.

    Without ``--teacher`` a script asks the segmenter and believes it; what it gets wrong is rejected.
    """
    pictures = list_pictures(find_source(options), license_=options.license)
    media = MediaStore(folder)
    segmenter = build_segmenter(options.segmenter)
    model = build_teacher(options, folder, build_model) if options.teacher else None
    card = CARDS[options.card]

    def make(item: int) -> Produced:
        opened = open_picture(pictures[item], media)
        if model is not None:
            check_sending((opened.study,), {"teacher": find_model_host(model.card)}, allowed=options.allow_egress)
        kept: list[Record] = []
        lost: list[Rejected] = list(opened.rejected)
        for record in draft_records(opened, options):
            if model is None and record.group not in _ASKED:
                continue
            posed = pose_record(record, folder)
            teacher: ChatModel = model or build_real_oracle(RealAsk(_ASKED[record.group], record.target), card)
            setup = build_setup(posed.case, teacher, segmenter, SetupOptions())
            outcome = play(posed, teacher, setup, seed=options.seed)
            scores = judge_episode(posed, outcome)
            if isinstance(scores, Rejected):
                lost.append(scores)
                continue
            name = options.teacher or f"script with {options.segmenter}"
            kept.append(keep_episode(posed, outcome, teacher=name, setup=setup, media=media, scores=scores))
        return Produced(tuple(kept), tuple(lost), opened.prints)

    return Plan(
        len(pictures),
        make,
        tuple(sorted({picture.license for picture in pictures})),
        name=lambda item: pictures[item].key,
        estimate={"questions": 8.0, "calls a question": 3.0, "tokens a call": 900.0},
    )
