"""The loop: thought, call, observation, ..., answer. It does no IO and knows no clock.

:meth:`Episode.steps` is a generator that yields :mod:`~ophiscope.agent.effects` and receives what came of them, so that
one episode at a time, many in lock-step, and a replay run the very same code. Everything that happens is yielded as an
event before the next thing begins.

What ends an episode is a :class:`~ophiscope.core.trace.StopReason`; nothing here raises for what a model wrote.
"""

from collections.abc import Callable, Generator, Sequence
from types import MappingProxyType, NoneType
from typing import TypeVar

from ophiscope.agent.answering import Known, compute_answer
from ophiscope.agent.confidence import compute_reply_confidence
from ophiscope.agent.effects import (
    Effect,
    Halt,
    Invoke,
    KeepMask,
    KeepPicture,
    KeepRoot,
    Overview,
    Record,
    Response,
    Sample,
    Survey,
)
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.agent.values import (
    build_evidence,
    build_view_event,
    clean_json,
    clean_text,
    render_caption,
    render_headline,
    render_question,
    render_stamp,
)
from ophiscope.core.action import Answer, Call, Malformed
from ophiscope.core.case import Case
from ophiscope.core.chat import FinishReason, Reply, Request
from ophiscope.core.evidence import Evidence, MaskRef
from ophiscope.core.message import ImagePart, Message, Part, Role, TextPart
from ophiscope.core.region import Mask
from ophiscope.core.study import Study
from ophiscope.core.trace import (
    AnswerEvent,
    CallEvent,
    EgressEvent,
    Event,
    FailureEvent,
    NoteEvent,
    ObservationEvent,
    OpenedEvent,
    RefusalEvent,
    ReplyEvent,
    RootRef,
    StopReason,
)
from ophiscope.core.view import Picture, View
from ophiscope.errors import ToolCode, ToolError
from ophiscope.protocol.grammar import parse_reply
from ophiscope.protocol.observation import render_observation, render_refusal
from ophiscope.tools.dispatch import compute_call_key
from ophiscope.tools.segmenting import SEGMENTING
from ophiscope.tools.tool import Look, Observation

__all__ = ["Episode"]

_T = TypeVar("_T")
_U = TypeVar("_U")
_Steps = Generator[Effect, Response, _T]
_HINT = "One turn is left: answer now."
_SEED_STRIDE = 0x9E3779B1
"""Odd, so that the turns of one episode never share a sampling seed."""


class _Ended(Exception):
    """Leaves the loop from any depth; never leaves :meth:`Episode.steps`."""

    def __init__(self, stop: StopReason, halt: Halt | None = None) -> None:
        super().__init__(stop)
        self.stop, self.halt = stop, halt


class Episode:
    """One question on its way to an answer.

    Args:
        case: What is asked.
        setup: With what.
        session: Key of the model's cache; no two running episodes share one.
        seed: Of sampling; each turn derives its own from it.
        manifest_sha256: Goes into the first event.
    """

    def __init__(self, case: Case, setup: Setup, *, session: str, seed: int, manifest_sha256: str) -> None:
        self._case, self._setup = case, setup
        self._session, self._seed, self._manifest_sha256 = session, seed, manifest_sha256
        self._studies = {study.header.study: study for study in case.studies}
        self._messages: list[Message] = []
        self._replies: list[Reply] = []
        self._views: dict[int, View] = {}
        self._evidence: dict[str, Evidence] = {}
        self._masks: dict[str, Mask] = {}
        self._calls: dict[str, int] = {}
        self._tokens = self._pixels = self._attempted = self._valid = self._malformed = self._miscited = 0
        self._answer: AnswerEvent | None = None
        self._notes: tuple[str, ...] = ()

    def outcome(self, stop: StopReason, halt: Halt | None = None) -> Outcome:
        """What there is so far, ended for the reason ``stop``."""
        return Outcome(
            stop=stop,
            answer=self._answer,
            evidence=tuple(self._evidence.values()),
            masks=MappingProxyType(dict(self._masks)),
            views=tuple(self._views.values()),
            messages=tuple(self._messages),
            replies=tuple(self._replies),
            turns=len(self._replies),
            attempted_calls=self._attempted,
            valid_calls=self._valid,
            failure=halt,
            notes=self._notes,
        )

    def steps(self) -> _Steps[Outcome]:
        """Run to the end; the generator returns the outcome."""
        try:
            yield from self._open()
            while True:
                yield from self._take_turn()
        except _Ended as ended:
            halt = ended.halt
            if halt is not None and halt.error is not None:
                turn = len(self._replies)
                # a second failure while the first is written adds nothing
                yield Record(FailureEvent(turn=turn, error=halt.error, text=clean_text(halt.text)))
            return self.outcome(ended.stop, halt)

    def _open(self) -> _Steps[None]:
        """Show the overviews and ask the question."""
        roots = []
        for study in self._case.studies:
            ref = yield from self._need_either(KeepRoot(study), RootRef, NoneType)
            roots += [ref] if isinstance(ref, RootRef) else []
        yield from self._record(
            OpenedEvent(
                manifest_sha256=self._manifest_sha256,
                question=clean_text(self._case.question),
                options=tuple(clean_text(option) for option in self._case.options),
                studies=tuple(study.header for study in self._case.studies),
                roots=tuple(roots),
            )
        )
        setup = self._setup
        system = setup.prompt.render(setup.tools, setup.profile.describe())
        self._messages.append(Message(Role.SYSTEM, (TextPart(system),)))
        parts: list[Part] = []
        for study in self._case.studies:
            seen = yield from self._need(Survey(study), Overview)
            parts += self._present(study, seen.notes, (yield from self._show(seen.pictures, 0)))
        self._messages.append(Message(Role.USER, (*parts, TextPart(render_question(self._case)))))

    def _present(self, study: Study, notes: Sequence[str], views: Sequence[View]) -> list[Part]:
        """The overview of a study: one picture with its caption, or a headline and pictures with their places."""
        if study.stack is None:
            return self._stamp(views, lambda view: render_caption(view, study.header, self._setup.profile))
        return [TextPart(render_headline(study.header, len(views), notes) + "\n"), *self._stamp(views, render_stamp)]

    @staticmethod
    def _stamp(views: Sequence[View], render: Callable[[View], str]) -> list[Part]:
        """Each picture with its words after it."""
        return [part for view in views for part in (ImagePart(view), TextPart(render(view) + "\n"))]

    def _take_turn(self) -> _Steps[None]:
        limits = self._setup.limits
        turn = len(self._replies) + 1
        yield from self._tell_egress(turn)
        reply = yield from self._need(Sample(self._build_request(turn)), Reply)
        self._replies.append(reply)
        text = clean_text(reply.text)
        self._tokens += len(reply.token_ids) if reply.token_ids is not None else -(-len(text.encode()) // 4)
        yield from self._record(self._build_reply_event(reply, text, turn))
        self._messages.append(Message(Role.ASSISTANT, (TextPart(text),), reply.token_ids))
        if reply.finish is FinishReason.CONTEXT_FULL:
            raise _Ended(StopReason.CONTEXT_FULL)
        action = parse_reply(text)
        if isinstance(action, Answer):
            yield from self._take_answer(action, reply, turn)
        elif isinstance(action, Malformed):
            yield from self._take_malformed(action, turn)
        else:
            yield from self._take_call(action, turn)
        if self._tokens >= limits.max_tokens:
            raise _Ended(StopReason.MAX_TOKENS)
        if turn >= limits.max_turns:
            raise _Ended(StopReason.MAX_TURNS)

    def _build_request(self, turn: int) -> Request:
        limits = self._setup.limits
        return Request(
            session=self._session,
            messages=tuple(self._messages),
            seed=(self._seed + turn * _SEED_STRIDE) & 0x7FFFFFFF,
            max_tokens=min(limits.max_reply_tokens, limits.max_tokens - self._tokens),
            temperature=self._setup.temperature,
        )

    def _build_reply_event(self, reply: Reply, text: str, turn: int) -> ReplyEvent:
        return ReplyEvent(
            turn=turn,
            text=text,
            finish=reply.finish.value,
            token_ids=reply.token_ids,
            logprobs=reply.logprobs,
            prompt_tokens=reply.prompt_tokens,
            recomputed_tokens=reply.recomputed_tokens,
            token_exact=self._setup.card.token_exact,
            notes=tuple(clean_text(note) for note in reply.notes),
        )

    def _tell_egress(self, turn: int) -> _Steps[None]:
        if self._setup.egress_host is not None:
            host, views = self._setup.egress_host, tuple(self._views)
            yield from self._record(EgressEvent(turn=turn, host=host, studies=tuple(self._studies), views=views))

    def _tell_segmenter_egress(self, call: Call, turn: int) -> _Steps[None]:
        """Before a segmenter behind a server elsewhere sees what a view shows."""
        host, handle = self._setup.segmenter_host, call.arguments.get("view")
        if host is None or call.name not in SEGMENTING or not isinstance(handle, int) or handle not in self._views:
            return
        study = self._views[handle].picture.study
        yield from self._record(EgressEvent(turn=turn, host=host, studies=(study,), views=(int(handle),)))

    def _take_malformed(self, action: Malformed, turn: int) -> _Steps[None]:
        self._malformed += 1
        yield from self._refuse(ToolCode.MALFORMED, action.reason, turn)
        if self._malformed >= self._setup.limits.max_malformed:
            raise _Ended(StopReason.MALFORMED)

    def _take_answer(self, action: Answer, reply: Reply, turn: int) -> _Steps[None]:
        self._malformed = 0
        headers = {handle: study.header for handle, study in self._studies.items()}
        try:
            known = Known(self._case.question, self._case.options, self._views, self._evidence, self._masks, headers)
            parsed = compute_answer(action.text, known, self._setup.profile)
        except ToolError as error:
            self._miscited += 1
            yield from self._refuse(error.code, str(error), turn)
            if self._miscited > 1:
                raise _Ended(StopReason.MALFORMED) from error
            return
        self._answer = AnswerEvent(
            turn=turn,
            text=parsed.text,
            result=parsed.result,
            cited=parsed.cited,
            confidence=compute_reply_confidence(reply, self._setup.spell),
        )
        self._notes = parsed.notes
        for note in parsed.notes:
            yield from self._record(NoteEvent(turn=turn, text=note))
        yield from self._record(self._answer)
        raise _Ended(StopReason.ANSWERED)

    def _take_call(self, call: Call, turn: int) -> _Steps[None]:
        self._malformed = 0
        self._attempted += 1
        arguments = {clean_text(str(key)): clean_json(value) for key, value in call.arguments.items()}
        yield from self._record(CallEvent(turn=turn, name=clean_text(call.name), arguments=arguments))
        yield from self._check_budgets(call, turn)
        look = Look(
            studies=self._studies,
            views=MappingProxyType(self._views),
            evidence=MappingProxyType(self._evidence),
            masks=MappingProxyType(self._masks),
            policy=self._setup.policy,
            segmenter=self._setup.segmenter,
        )
        yield from self._tell_segmenter_egress(call, turn)
        came = yield from self._need_either(Invoke(call, look, turn), Observation, ToolError)
        if isinstance(came, ToolError):
            yield from self._refuse(came.code, str(came), turn)
        else:
            yield from self._take_observation(call.name, came, turn)

    def _check_budgets(self, call: Call, turn: int) -> _Steps[None]:
        limits = self._setup.limits
        key = compute_call_key(call)
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] >= limits.max_same_call:
            said = f"This very call was written {self._calls[key]} times; its result does not change."
            yield from self._refuse(ToolCode.REPEATED_CALL, said, turn)
            raise _Ended(StopReason.REPEATED_CALL)
        if self._attempted > limits.max_calls:
            yield from self._refuse(ToolCode.BUDGET, f"All {limits.max_calls} calls are spent.", turn)
            raise _Ended(StopReason.MAX_CALLS)
        if turn >= limits.max_turns:
            yield from self._refuse(ToolCode.BUDGET, f"All {limits.max_turns} turns are spent.", turn)
            raise _Ended(StopReason.MAX_TURNS)

    def _take_observation(self, name: str, seen: Observation, turn: int) -> _Steps[None]:
        views = yield from self._show(seen.pictures, turn)
        evidence = yield from self._add_evidence(name, seen, views)
        self._valid += 1
        handles = tuple(view.handle for view in views)
        text = render_observation(
            seen.facts,
            profile=self._setup.profile,
            evidence=evidence.id if evidence is not None else None,
            views=handles,
            notes=seen.notes,
        )
        text = self._hinted(text, turn)
        yield from self._record(ObservationEvent(turn=turn, name=name, text=text, views=handles, evidence=evidence))
        several = len(views) > 1
        shown = self._stamp(views, render_stamp) if several else [ImagePart(view) for view in views]
        self._messages.append(Message(Role.TOOL, (*shown, TextPart(text))))

    def _add_evidence(self, name: str, seen: Observation, views: Sequence[View]) -> _Steps[Evidence | None]:
        finding = seen.finding
        if finding is None:
            return None
        if finding.measures is not None:
            evidence = self._evidence[finding.measures].model_copy(update={"measurement": finding.measurement})
        else:
            mask = finding.mask if finding.mask is not None and finding.mask.box is not None else None
            ref = (yield from self._need(KeepMask(mask), MaskRef)) if mask is not None else None
            evidence = build_evidence(f"E{len(self._evidence) + 1}", finding, tool=name, views=views, mask=ref)
            if mask is not None:
                self._masks[evidence.id] = mask
        self._evidence[evidence.id] = evidence
        return evidence

    def _show(self, pictures: Sequence[Picture], turn: int) -> _Steps[list[View]]:
        """Give pictures their numbers, store them, and say so; nothing is shown beyond the pixel budget."""
        needed = sum(picture.frame.size_wh[0] * picture.frame.size_wh[1] for picture in pictures)
        most = self._setup.limits.max_pixels
        if self._pixels + needed > most:
            yield from self._refuse(ToolCode.BUDGET, f"Showing this would go beyond the {most} pixels allowed.", turn)
            raise _Ended(StopReason.MAX_PIXELS)
        self._pixels += needed
        views = []
        for picture in pictures:
            sha256 = yield from self._need(KeepPicture(picture), str)
            view = View(len(self._views) + 1, picture)
            yield from self._record(build_view_event(view, turn, sha256))
            self._views[view.handle] = view
            views.append(view)
        return views

    def _refuse(self, code: ToolCode, reason: str, turn: int) -> _Steps[None]:
        text = self._hinted(render_refusal(code.value, reason), turn)
        yield from self._record(RefusalEvent(turn=turn, code=code.value, text=text))
        self._messages.append(Message(Role.TOOL, (TextPart(text),)))

    def _hinted(self, text: str, turn: int) -> str:
        last = self._setup.prompt.last_turn_hint and turn == self._setup.limits.max_turns - 1
        return f"{text}\n{_HINT}" if last else text

    def _record(self, event: Event) -> _Steps[None]:
        yield from self._need(Record(event), NoneType)

    def _need(self, effect: Effect, kind: type[_T]) -> _Steps[_T]:
        """What came of ``effect``, which must be a ``kind``; a Halt ends the episode."""
        return (yield from self._need_either(effect, kind, kind))

    def _need_either(self, effect: Effect, kind: type[_T], other: type[_U]) -> _Steps[_T | _U]:
        heard = yield effect
        if isinstance(heard, Halt):
            raise _Ended(heard.stop, heard)
        if isinstance(heard, kind | other):
            return heard
        raise TypeError(f"{type(effect).__name__} cannot be answered by {type(heard).__name__}.")
