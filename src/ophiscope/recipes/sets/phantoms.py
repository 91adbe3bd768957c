"""Sets that are drawn: pictures with needles and an oracle that looks; procedures with captions, questions and both
kinds of chains of thought.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ophiscope.agent.assemble import SetupOptions, build_model, build_segmenter, build_setup
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.chat import ChatModel
from ophiscope.core.result import ResultKind
from ophiscope.data.drawn_media import name_phantom
from ophiscope.data.episodes import Posed, judge_episode, keep_episode, play, pose_record
from ophiscope.data.media_store import MediaStore
from ophiscope.data.mended import Mended, list_calls, unlearn
from ophiscope.data.plan import BuildOptions, Plan, Produced, choose_split
from ophiscope.data.record import Origin, Record, RecordKind, Rejected, name_record
from ophiscope.data.teacher import build_teacher
from ophiscope.errors import WrongInput
from ophiscope.eval.phantoms import Phantom, draw_phantom
from ophiscope.media.render import render_picture
from ophiscope.recipes.mixture import draw_kind
from ophiscope.recipes.nano.recovery import Slips
from ophiscope.recipes.sets.cards import CARDS
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.tools.segmenting import SEGMENTING
from ophiscope.worlds.draw import Needle

__all__ = ["DRAWN_LICENSE", "plan_phantom_pictures"]

DRAWN_LICENSE = "Apache-2.0"
_FIRST_SEED = 6_000_000_000
"""Of drawn sets; apart from those of training, of tests and of environments."""
_SEEDS_A_SET = 10_000_000
_MANY = 1_000_000
"""Items where no limit is given."""
_MIXTURE: Mapping[Needle, float] = {Needle.PLAIN: 0.2, Needle.L1: 0.3, Needle.L2: 0.12, Needle.L3: 0.25, Needle.W: 0.13}
_EIGHT_BIT: Mapping[Needle, float] = {needle: share for needle, share in _MIXTURE.items() if needle is not Needle.W}
"""``W`` needs values that a written picture has not."""
_SLIPPING = 0.15
"""Share of episodes whose calls slip, so that what follows notices and mends it."""


def first_seed(options: BuildOptions) -> int:
    """Of the items of a drawn set."""
    return _FIRST_SEED + options.seed * _SEEDS_A_SET


def count_drawn(options: BuildOptions) -> int:
    """How many items a drawn source has: as many as are asked for.

    Raises:
        WrongInput: If a source is named.
    """
    if options.source:
        raise WrongInput(f"{options.recipe} draws its pictures; leave --source out.")
    return options.limit or _MANY


def plan_phantom_pictures(options: BuildOptions, folder: Path) -> Plan:
    """``phantom_image``: a picture, a question, and the episode of an oracle that sees only what it is shown, or of a
    teacher."""
    count = count_drawn(options)
    model = build_teacher(options, folder, build_model) if options.teacher else None
    card, media = CARDS[options.card], MediaStore(folder)
    segmenter = build_segmenter(options.segmenter)
    mixture = _EIGHT_BIT if options.encode else _MIXTURE

    def make(item: int) -> Produced:
        seed = first_seed(options) + item
        needle = draw_kind(seed, mixture)
        phantom = draw_phantom(seed, needle, whole=options.encode)
        question = _write_question(phantom, name_phantom(seed, needle), f"phantom {seed}", options=options, media=media)
        posed = pose_record(question, folder)
        if model is not None:
            return play_or_mend(posed, model, phantom.build_oracle(model.card), segmenter=segmenter, media=media)
        oracle: ChatModel = phantom.build_oracle(card)
        setup = build_fitting_setup(posed, oracle, segmenter)
        slips = _draw_slips(oracle, seed, options)
        outcome = play(posed, slips or oracle, setup)
        scores = judge_episode(posed, outcome)
        if isinstance(scores, Rejected):
            return Produced((), (scores,))
        kept = keep_episode(posed, outcome, teacher="oracle", setup=setup, media=media, scores=scores)
        said = [] if slips is None else zip((reply.text for reply in outcome.replies), slips.meant, strict=True)
        return Produced((unlearn(kept, {turn for turn, (text, meant) in enumerate(said) if text != meant}),))

    return Plan(count, make, (DRAWN_LICENSE,), name=lambda item: f"phantom {first_seed(options) + item}")


def _draw_slips(oracle: ChatModel, seed: int, options: BuildOptions) -> Slips | None:
    if options.card != "nano":  # slips move boxes of a thousandth, as nano writes them
        return None
    rng = np.random.default_rng([seed, 37])
    return Slips(oracle, rng) if rng.uniform() < _SLIPPING else None


def build_fitting_setup(posed: Posed, model: ChatModel, segmenter: Segmenter | None) -> Setup:
    """All tools that fit a case, with a segmenter where one of them needs it."""
    setup = build_setup(posed.case, model, None, SetupOptions())
    if SEGMENTING & {tool.name for tool in setup.tools}:
        return build_setup(posed.case, model, segmenter, SetupOptions())
    return setup


def play_or_mend(
    posed: Posed, model: ChatModel, guide: ChatModel, *, segmenter: Segmenter | None, media: MediaStore
) -> Produced:
    """The episode of a model; one that failed is kept as rejected, and once more as mended by who knows the way."""
    setup = build_fitting_setup(posed, model, segmenter)
    outcome = play(posed, model, setup)
    scores = judge_episode(posed, outcome)
    name = model.card.name
    if not isinstance(scores, Rejected):
        return Produced((keep_episode(posed, outcome, teacher=name, setup=setup, media=media, scores=scores),))
    said = list_calls(outcome)
    if not said:
        return Produced((), (scores,))
    mended = play(posed, Mended(said, guide), setup)
    verdict = judge_episode(posed, mended)
    if isinstance(verdict, Rejected):
        return Produced((), (scores, verdict.model_copy(update={"stage": "mend"})))
    kept = keep_episode(
        posed, mended, teacher=f"{name}, mended by the oracle", setup=setup, media=media, scores=verdict
    )
    return Produced((unlearn(kept, range(len(said))),), (scores,))


def _write_question(phantom: Phantom, name: str, item: str, *, options: BuildOptions, media: MediaStore) -> Record:
    study, key = phantom.case.studies[0], phantom.key
    file = media.add_picture(render_picture(study, study.frame).pixels_H_W_3) if options.encode else name
    mask = key.mask if key.kind is ResultKind.MASK else None
    return Record(
        id=name_record(options.recipe, item),
        kind=RecordKind.QUESTION,
        origin=describe_drawn(item, "drawn phantoms", "oracle"),
        split=choose_split(item, "", options.seed),
        media=file,
        images=(file,) if options.encode else (),
        question=phantom.case.question,
        answer=write_answer(key),
        options=phantom.case.options,
        mask=None if mask is None else media.add_mask(mask.sample(study.frame)),
        boxes=tuple(box.root_xyxy for box in key.evidence_boxes),
        least_calls=key.least_calls,
        group=key.group,
        modality=phantom.world.look.value,
    )


def describe_drawn(item: str, source: str, teacher: str) -> Origin:
    """Where a drawn record comes from."""
    return Origin(item=item, subject=item, source=source, license=DRAWN_LICENSE, annotation="drawn", teacher=teacher)


def write_answer(key: AnswerKey) -> str:
    """A key's answer as a row of a file has it."""
    bare = (ResultKind.MASK, ResultKind.BOX, ResultKind.INTERVAL, ResultKind.TIME)
    return key.kind.value if key.kind in bare else key.text
