"""One episode between two samples: every wish of the loop but the one for the model is turned into a deed.

What goes wrong outside the model's reach becomes a :class:`~ophiscope.agent.effects.Halt`, which the loop records
before it ends. The trace is closed in every case that the disk allows.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from ophiscope.agent.effects import (
    Effect,
    Halt,
    Invoke,
    KeepMask,
    KeepPicture,
    KeepRoot,
    Record,
    Response,
    Sample,
    Survey,
)
from ophiscope.agent.loop import Episode
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.overview import draw_overview
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.evidence import MaskRef
from ophiscope.core.interrupt import raise_interrupt
from ophiscope.core.region import Mask
from ophiscope.core.study import Study, StudyKind
from ophiscope.core.trace import FailureEvent, RootRef, StopReason
from ophiscope.errors import DiskFailed, ToolCode, ToolError
from ophiscope.ledger.sink import Sink
from ophiscope.media.png import encode_mask_png, encode_picture_png
from ophiscope.media.sources import encode_root_png
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.tool import Observation

__all__ = ["NOT_KEPT", "EpisodeRunner", "Job", "Serve"]

NOT_KEPT = "0" * 64
"""Stands for the sha256 of a picture or mask that was shown but not stored."""

Serve = Callable[[Invoke, Callable[[], Observation]], Observation]
"""Stands between a call and its tool: ``(wish, dispatch) -> observation``; may call ``dispatch()`` or not."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One episode of a batch."""

    case: Case
    sink: Sink
    session: str
    seed: int = 0
    serve: Serve | None = None
    """For replays and interventions only."""
    keeps_media: bool = True
    """False spares the encoding of pictures where nobody will read the trace (rollouts); media are then named
    :data:`NOT_KEPT`."""


class EpisodeRunner:
    """An episode between two samples: it serves every wish but the one for the model.

    Args:
        job: Case, sink, session and seed.
        setup: Model card, tools, limits and the rest.
        clock: Seconds, for the deadline.
    """

    def __init__(self, job: Job, setup: Setup, clock: Callable[[], float]) -> None:
        self._job, self._setup, self._clock = job, setup, clock
        self._episode = Episode(
            job.case, setup, session=job.session, seed=job.seed, manifest_sha256=job.sink.manifest_sha256
        )
        self._steps = self._episode.steps()
        self._started_s = clock()
        self._outcome: Outcome | None = None
        self.waiting: Sample | None = None
        """What it wants of the model; None before it began and after it ended."""

    def go_on(self, response: Response) -> None:
        """Hand over what the loop waits for, and serve its wishes until it wants the model again, or ends."""
        self.waiting = None
        try:
            while self._outcome is None:
                effect = self._steps.send(response)
                if isinstance(effect, Sample):
                    self._job.sink.sync()
                    if not self._is_late():
                        self.waiting = effect
                        return
                    response = Halt(StopReason.DEADLINE)
                else:
                    response = self._serve(effect)
        except StopIteration as finished:
            self._outcome = finished.value
        except DiskFailed as error:
            # nothing more can be written, so the loop is not asked to record it
            self._end(Halt(StopReason.DISK_FAILED, type(error).__name__, str(error)))
        except Exception as error:
            raise_interrupt(error)
            self._end_by_defect(error)

    def finish(self) -> Outcome:
        """End the episode where it still runs, and close its trace."""
        if self._outcome is None:
            self._cancel()
        outcome = self._outcome or self._episode.outcome(StopReason.CANCELLED)
        try:
            self._close(outcome.stop)
        except DiskFailed as error:
            return replace(
                outcome,
                stop=StopReason.DISK_FAILED,
                failure=Halt(StopReason.DISK_FAILED, type(error).__name__, str(error)),
            )
        return outcome

    def _close(self, stop: StopReason) -> None:
        try:
            self._job.sink.close(stop)
        except KeyboardInterrupt:
            # a second Ctrl-C while the trace is being closed: finish that first
            self._job.sink.close(stop)

    def _cancel(self) -> None:
        # an interrupt inside the generator has ended it; then there is nothing left to hand over
        self.waiting = None
        self._end(Halt(StopReason.CANCELLED))

    def _end(self, halt: Halt) -> None:
        self._outcome = self._episode.outcome(halt.stop, halt)
        self._steps.close()

    def _end_by_defect(self, error: Exception) -> None:
        """Something of ours failed: recorded like a broken tool, so that the siblings of a batch go on."""
        halt = Halt(StopReason.TOOL_FAILED, type(error).__name__, "the episode failed by a defect and was ended")
        self._end(halt)
        turns = self._outcome.turns if self._outcome is not None else 0
        with suppress(Exception):
            self._job.sink.append(FailureEvent(turn=turns, error=type(error).__name__, text=halt.text))

    def _is_late(self) -> bool:
        return self._clock() - self._started_s >= self._setup.limits.deadline_s

    def _serve(self, effect: Effect) -> Response:
        match effect:
            case Record(event):
                self._job.sink.append(event)
                return None
            case Invoke():
                return self._invoke(effect)
            case Survey(study):
                return self._draw(study)
            case KeepPicture(picture):
                return self._keep(lambda: encode_picture_png(picture.pixels_H_W_3))
            case KeepMask(mask):
                return self._keep_mask(mask)
            case KeepRoot(study):
                return self._keep_root(study)
            case Sample():
                raise AssertionError("the model is asked by the driver")

    def _invoke(self, wish: Invoke) -> Response:
        if self._is_late():
            return Halt(StopReason.DEADLINE)
        try:
            serve = self._job.serve
            return self._dispatch(wish) if serve is None else serve(wish, lambda: self._dispatch(wish))
        except ToolError as error:
            if error.code is ToolCode.TOOL_FAILED and error.__cause__ is not None:
                # not the call was wrong but the tool: a defect or a dead server, which no other call can mend
                return Halt(StopReason.TOOL_FAILED, type(error.__cause__).__name__, str(error))
            return error
        except Exception as error:
            return Halt(StopReason.TOOL_FAILED, type(error).__name__, "a tool failed and gave no result")

    def _dispatch(self, wish: Invoke) -> Observation:
        return dispatch(wish.call, self._setup.tools, wish.look, self._setup.profile)

    def _draw(self, study: Study) -> Response:
        try:
            return draw_overview(study, self._setup.policy)
        except Exception as error:
            said = f"the overview of {study.header.study} cannot be drawn"
            return Halt(StopReason.TOOL_FAILED, type(error).__name__, said)

    def _keep(self, encode: Callable[[], bytes]) -> str:
        return self._job.sink.add_media(encode(), "png") if self._job.keeps_media else NOT_KEPT

    def _keep_mask(self, mask: Mask) -> MaskRef:
        tight = mask.tight()
        frame = tight.frame
        sha256 = self._keep(lambda: encode_mask_png(tight.bits_H_W))
        return MaskRef(sha256=sha256, size_wh=frame.size_wh, origin_xy=frame.origin_xy, scale_xy=frame.scale_xy)

    def _keep_root(self, study: Study) -> RootRef | None:
        """Images are kept whole, so that a replay needs nothing more; slides, videos and volumes are not."""
        if study.header.kind is not StudyKind.IMAGE or not self._job.keeps_media:
            return None
        return RootRef(study=study.header.study, sha256=self._keep(lambda: encode_root_png(study)))
