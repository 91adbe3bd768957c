"""Questions about procedures, in words, with their truth.

A :class:`ProcedureAsk` is what a question means, known from its words alone; it never holds the answer.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.case import Case
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.worlds.pick import pick
from ophiscope.worlds.procedure import Action, Event, Procedure, Tint

__all__ = ["ACTION_WORDS", "PosedProcedure", "ProcedureAsk", "ProcedureKind", "pose_procedure"]


class ProcedureKind(StrEnum):
    """What a question wants to know."""

    WHEN = "when"
    """Of what was done once; attempts at it do not count."""
    WHAT_AT = "what_at"
    WHAT_AFTER = "what_after"
    HOW_OFTEN = "how_often"
    DID = "did"
    INSTRUMENT = "instrument"
    COLOUR = "colour"
    """Of the band of a clip: only a frame at full size shows it."""
    DESCRIBE = "describe"


@dataclass(frozen=True, slots=True)
class ProcedureAsk:
    """What a question means."""

    kind: ProcedureKind
    action: Action | None = None
    span_s: tuple[float, float] | None = None
    """The stretch that is named; one moment where both are equal."""


class PosedProcedure(NamedTuple):
    """A question: as the model gets it, what it means, and the truth."""

    case: Case
    ask: ProcedureAsk
    key: AnswerKey


ACTION_WORDS = {
    Action.CLIP: "a clip is applied",
    Action.STAPLE: "the stapler is fired",
    Action.BLEED: "a vessel bleeds",
    Action.BURN: "tissue is burned",
    Action.SUTURE: "a suture is set",
}
"""How what is done is told."""
_WHEN = {
    Action.CLIP: (
        "When is the clip applied?",
        "When is a clip applied?",
        "At what time is the clip placed?",
        "When do they apply the clip?",
    ),
    Action.STAPLE: (
        "When is the stapler fired?",
        "When is it stapled?",
        "At what time does the stapler fire?",
        "When do they fire the stapler?",
    ),
    Action.BLEED: (
        "When does a vessel begin to bleed?",
        "When does the bleeding start?",
        "At what time is there bleeding?",
        "When does it bleed?",
    ),
    Action.BURN: (
        "When is tissue burned?",
        "When is the tissue coagulated?",
        "At what time is tissue burned?",
        "When do they burn tissue?",
    ),
    Action.SUTURE: (
        "When is the suture set?",
        "When is a suture set?",
        "At what time is the suture placed?",
        "When do they set the suture?",
    ),
}
"""Ways to ask; the first is the plainest."""
_DID = {
    Action.CLIP: ("Is a clip applied?", "Was a clip placed?", "Do they apply a clip?"),
    Action.STAPLE: ("Is the stapler fired?", "Was the stapler used?", "Do they fire the stapler?"),
    Action.BLEED: ("Does a vessel bleed?", "Is there bleeding?", "Does it bleed?"),
    Action.BURN: ("Is tissue burned?", "Was tissue coagulated?", "Do they burn tissue?"),
    Action.SUTURE: ("Is a suture set?", "Was a suture placed?", "Do they set a suture?"),
}
_HOW_OFTEN = {
    Action.CLIP: ("How many clips are applied?", "How many clips do they apply?"),
    Action.STAPLE: ("How often is the stapler fired?", "How many times is it stapled?"),
    Action.BLEED: ("How often does a vessel begin to bleed?", "How many bleedings are there?"),
    Action.BURN: ("How often is tissue burned?", "How many times is tissue coagulated?"),
    Action.SUTURE: ("How many sutures are set?", "How many sutures do they set?"),
}
_INSTRUMENT = (
    "Which instrument touches the tissue at {at_s} s?",
    "Which instrument is used at {at_s} s?",
    "What tool is seen at {at_s} s?",
)
_DESCRIBE = ("What is done, and when?", "Describe what happens, with times.", "List the events with their times.")
_NOTHING = "nothing"
_CROP, _FRAME = "crop_video", "get_frame"


def pose_procedure(
    rng: np.random.Generator, procedure: Procedure, study: Study, kind: ProcedureKind
) -> PosedProcedure | None:
    """Draw a question of a kind about what ``study`` shows.

    Returns:
        None where the procedure holds nothing that this kind can ask for.
    """
    pose = _POSE[kind]
    drawn = pose(rng, procedure)
    if drawn is None:
        return None
    ask, words, key, options = drawn
    return PosedProcedure(Case((study,), words, options), ask, key)


class _Drawn(NamedTuple):
    ask: ProcedureAsk
    words: str
    key: AnswerKey
    options: tuple[str, ...] = ()


def _find_single(procedure: Procedure) -> list[Event]:
    """What was done once: the only one of its action."""
    done = procedure.done
    return [event for event in done if sum(other.action is event.action for other in done) == 1]


def _spell(event: Event) -> str:
    return f"interval {event.start_s:g}-{event.end_s:g} s"


def _key(
    kind: ResultKind, text: str, group: ProcedureKind, event: Event | None, *tools: str, end_s: float | None = None
) -> AnswerKey:
    """A key whose evidence lies in an event, or from its begin to ``end_s``."""
    interval = None if event is None else Interval(AxisUnit.TIME_S, event.start_s, end_s or event.end_s)
    return AnswerKey(
        kind, text, evidence_interval=interval, needed_tools=tools, least_calls=len(tools), group=group.value
    )


def _pose_when(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    single = _find_single(procedure)
    if not single:
        return None
    event = pick(rng, single)
    key = _key(ResultKind.INTERVAL, _spell(event), ProcedureKind.WHEN, event, _CROP)
    return _Drawn(ProcedureAsk(ProcedureKind.WHEN, event.action), pick(rng, _WHEN[event.action]), key)


def _pose_what_at(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    """Of an event or an attempt, which leaves nothing."""
    if not procedure.events:
        return None
    event = pick(rng, procedure.events)
    at_s = round((event.start_s + event.end_s) / 2, 1)
    text = ACTION_WORDS[event.action] if event.leaves else _NOTHING
    options = _shuffle(rng, [*_list_options(event.action), _NOTHING])
    key = _key(ResultKind.OPTION, text, ProcedureKind.WHAT_AT, event, _CROP)
    words = f"What is done around {at_s:g} s, so that it can be seen afterwards?"
    return _Drawn(ProcedureAsk(ProcedureKind.WHAT_AT, span_s=(at_s, at_s)), words, key, options)


def _pose_what_after(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    single = _find_single(procedure)
    pairs = [
        (before, after)
        for before, after in zip(procedure.done, procedure.done[1:], strict=False)
        if before in single and before.action is not after.action
    ]
    if not pairs:
        return None
    before, after = pick(rng, pairs)
    options = _shuffle(rng, [words for words in _list_options(after.action) if words != ACTION_WORDS[before.action]])
    key = _key(ResultKind.OPTION, ACTION_WORDS[after.action], ProcedureKind.WHAT_AFTER, after)
    words = f"What is done next after {ACTION_WORDS[before.action].replace(' is ', ' was ').replace('bleeds', 'bled')}?"
    return _Drawn(ProcedureAsk(ProcedureKind.WHAT_AFTER, before.action), words, key, options)


def _pose_how_often(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    asked = {event.action for event in procedure.events}
    if not asked:
        return None
    action = pick(rng, sorted(asked))
    count = sum(event.action is action for event in procedure.done)
    key = _key(ResultKind.COUNT, str(count), ProcedureKind.HOW_OFTEN, None)
    return _Drawn(ProcedureAsk(ProcedureKind.HOW_OFTEN, action), pick(rng, _HOW_OFTEN[action]), key)


def _pose_did(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    """As often of what was done as of what was only tried, or not even that."""
    done = {event.action for event in procedure.done}
    others = [action for action in (Action.CLIP, Action.STAPLE, Action.BLEED, Action.BURN) if action not in done]
    wanted = sorted(done) if rng.random() < 0.5 else others
    if not wanted:
        return None
    action = pick(rng, wanted)
    key = _key(ResultKind.YES_NO, "yes" if action in done else "no", ProcedureKind.DID, None)
    return _Drawn(ProcedureAsk(ProcedureKind.DID, action), pick(rng, _DID[action]), key)


def _pose_instrument(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    if not procedure.events:
        return None
    event = pick(rng, procedure.events)
    at_s = round((event.start_s + event.end_s) / 2, 1)
    key = _key(ResultKind.TEXT, event.instrument.value, ProcedureKind.INSTRUMENT, event, _FRAME)
    words = pick(rng, _INSTRUMENT).format(at_s=f"{at_s:g}")
    return _Drawn(ProcedureAsk(ProcedureKind.INSTRUMENT, span_s=(at_s, at_s)), words, key)


def _pose_colour(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    clips = [event for event in _find_single(procedure) if event.action is Action.CLIP]
    scenes = [procedure.find_scene(event.start_s) for event in clips]
    if not clips or sum(mark.action is Action.CLIP for mark in scenes[0].marks) > 1:
        return None
    options = _shuffle(rng, [tint.value for tint in Tint])
    key = _key(ResultKind.OPTION, clips[0].tint.value, ProcedureKind.COLOUR, clips[0], _FRAME, end_s=scenes[0].end_s)
    words = "What colour is the band of the clip that is applied?"
    return _Drawn(ProcedureAsk(ProcedureKind.COLOUR, Action.CLIP), words, key, options)


def _pose_describe(rng: np.random.Generator, procedure: Procedure) -> _Drawn | None:
    """Of the whole recording, or of a stretch that cuts no event."""
    start_s, end_s = 0.0, procedure.duration_s
    words = None
    if rng.random() < 0.5:
        edges = sorted(float(edge) for edge in rng.uniform(0, procedure.duration_s, 2))
        start_s, end_s = round(edges[0], 1), round(edges[1], 1)
        cut = any(event.start_s < edge < event.end_s for event in procedure.events for edge in (start_s, end_s))
        if cut or end_s - start_s < 1.0:
            return None
        words = f"What is done from {start_s:g} to {end_s:g} s, and when?"
    events = [event for event in procedure.done if start_s <= event.start_s and event.end_s <= end_s]
    told = tuple((event.start_s, event.end_s, ACTION_WORDS[event.action]) for event in events)
    text = "\n".join(f"{start:g}-{end:g} s: {what}" for start, end, what in told) or _NOTHING
    key = AnswerKey(
        ResultKind.DESCRIPTION,
        text,
        events=told,
        needed_tools=(_CROP,) if told else (),
        least_calls=len(told),
        group=ProcedureKind.DESCRIBE.value,
    )
    return _Drawn(ProcedureAsk(ProcedureKind.DESCRIBE, span_s=(start_s, end_s)), words or pick(rng, _DESCRIBE), key)


def _list_options(right: Action) -> list[str]:
    common = [Action.CLIP, Action.STAPLE, Action.BLEED, Action.BURN]
    return [ACTION_WORDS[action] for action in dict.fromkeys([right, *common])][:4]


def _shuffle(rng: np.random.Generator, options: list[str]) -> tuple[str, ...]:
    return tuple(options[int(index)] for index in rng.permutation(len(options)))


_POSE = {
    ProcedureKind.WHEN: _pose_when,
    ProcedureKind.WHAT_AT: _pose_what_at,
    ProcedureKind.WHAT_AFTER: _pose_what_after,
    ProcedureKind.HOW_OFTEN: _pose_how_often,
    ProcedureKind.DID: _pose_did,
    ProcedureKind.INSTRUMENT: _pose_instrument,
    ProcedureKind.COLOUR: _pose_colour,
    ProcedureKind.DESCRIBE: _pose_describe,
}
