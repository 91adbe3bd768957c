"""Files are untrusted: they are decoded in a process of their own, whose memory and time are limited, and kept warm.

A decoder that crashes, hangs or asks for too much takes the worker with it and nothing else; the next file gets a new
one. Workers are taken from a small store and put back, so that a thread has one to itself.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import is_address
from ophiscope.media.limits import LIMITS_VARIABLE, Limits
from ophiscope.media.masks import MaskSet
from ophiscope.media.opened_stack import OpenedStack
from ophiscope.media.progress import Progress, tell_nobody
from ophiscope.media.reader import ReadRequest
from ophiscope.media.stack_wire import parse_stack_answer
from ophiscope.media.video_open import OpenedVideo
from ophiscope.media.video_wire import (
    FramesAnswer,
    FramesRequest,
    parse_video_answer,
    read_frames_answer,
    render_frames_request,
)
from ophiscope.media.worker_wire import (
    RegionRequest,
    SlideAnswer,
    parse_slide_answer,
    parse_study_answer,
    read_answer,
    read_masks_answer,
    read_message,
    read_region_answer,
    render_masks_request,
    render_region_request,
    render_request,
    write_message,
)

__all__ = ["DecodeWorker", "Opened", "borrow_worker"]

_Answer = TypeVar("_Answer")
Opened = Study | SlideAnswer | OpenedStack | OpenedVideo
"""A still picture, or what is needed to ask for parts of something larger."""

_JOBS = 200
"""After so many a worker is replaced, and with it whatever its libraries have leaked."""
_WARMED_AHEAD = 10
"""So many jobs before that its successor is started."""
_OUT_OF_TIME = 24
"""SIGXCPU, which ends a process that is out of processor time."""
_KEPT_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "TMPDIR",
    LIMITS_VARIABLE,
)
"""Nothing else goes along: no key, no proxy, no name of a server."""


class _Deadline:
    """Ends a job that takes too long, unless it is begun anew in time."""

    def __init__(self, wait_s: float, end: Callable[[], None]) -> None:
        self._wait_s, self._end = wait_s, end
        self.passed = False
        self._start()

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        self._timer.cancel()

    def _start(self) -> None:
        self._timer = threading.Timer(self._wait_s, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def _pass(self) -> None:
        self.passed = True
        self._end()


class DecodeWorker:
    """One process that decodes files, one after the other.

    Args:
        command: What to run; the worker of this package where None.
        deadline_s: Of a job, by the clock on the wall; within it the worker has 60 s of processor time.
        start_s: More than that for the first, in which the worker starts: imports on a busy machine are slow.
    """

    def __init__(
        self, command: Sequence[str] | None = None, *, deadline_s: float = 90.0, start_s: float = 60.0
    ) -> None:
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "ophiscope.media.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C goes to the person's program, which ends this one
        )
        self._deadline_s, self._start_s, self._ready = deadline_s, start_s, False
        self._clock: _Deadline
        self.jobs_left = _JOBS

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it may get another job."""
        return self.jobs_left > 0 and self._process.poll() is None

    def decode(self, path: str | os.PathLike[str], request: ReadRequest, tell: Progress = tell_nobody) -> Opened:
        """Read one picture, or open a slide or video.

        Args:
            path: Of a file or folder.
            request: What is wanted of it.
            tell: Hears which share of a long job is done.

        Raises:
            MediaRejected: With the reason; ``decoder_failed`` or ``too_slow`` where the worker did not survive it.
        """
        wish = render_request(_locate(path), request)
        return self._run(wish, lambda pipe: _read_opened(pipe, request.limits, self._hear(pipe, tell)))

    def decode_frames(self, request: FramesRequest) -> FramesAnswer:
        """Look at frames of a video.

        Raises:
            MediaRejected: As :meth:`decode`.
        """
        return self._run(render_frames_request(request), lambda pipe: read_frames_answer(pipe, request))

    def decode_region(self, request: RegionRequest) -> NDArray[np.generic]:
        """Read a part of a slide; uint8 ``(h, w, 3)``.

        Raises:
            MediaRejected: As :meth:`decode`.
        """
        return self._run(render_region_request(request), lambda pipe: read_region_answer(pipe, request))

    def decode_masks(self, path: str | os.PathLike[str], limits: Limits) -> MaskSet:
        """Read the masks of a file.

        Raises:
            MediaRejected: As :meth:`decode`.
        """
        return self._run(render_masks_request(_locate(path), limits), lambda pipe: read_masks_answer(pipe, limits))

    def _hear(self, pipe: BinaryIO, tell: Progress) -> dict[str, Any]:
        """The message that an answer begins with; for as long as there is progress there is more time."""
        while "progress" in (message := read_answer(pipe)):
            self._clock.restart()
            tell(float(message["progress"]))
        return message

    def _run(self, wish: dict[str, Any], read_answer: Callable[[BinaryIO], _Answer]) -> _Answer:
        self.jobs_left -= 1
        stdin, stdout = cast("BinaryIO", self._process.stdin), cast("BinaryIO", self._process.stdout)
        self._clock = _Deadline(self._deadline_s + (0.0 if self._ready else self._start_s), self._process.kill)
        try:
            if not self._ready:
                read_message(stdout)
                self._ready = True
            write_message(stdin, wish)
            return read_answer(stdout)
        except MediaRejected:
            raise
        except (EOFError, OSError, ValueError):
            self.stop()
            raise self._explain(late=self._clock.passed) from None
        except BaseException:
            self.stop()  # Ctrl-C in the middle of an answer: what remains of it must not be read as the next one
            raise
        finally:
            self._clock.stop()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.jobs_left = 0
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                cast("BinaryIO", pipe).close()
        self._process.wait()

    def _explain(self, *, late: bool) -> MediaRejected:
        if late or -(self._process.returncode or 0) == _OUT_OF_TIME:
            return MediaRejected(
                MediaCode.TOO_SLOW, "it takes too long to decode (worker_cpu_s); the decoder was stopped"
            )
        if not self._ready:
            return MediaRejected(
                MediaCode.DECODER_FAILED, "the process that decodes did not start; does it have enough worker_bytes?"
            )
        return MediaRejected(MediaCode.DECODER_FAILED, "its decoder crashed; the file is damaged, or made to do that")


def _read_opened(pipe: BinaryIO, limits: Limits, message: dict[str, Any]) -> Opened:
    header = StudyHeader.model_validate(message["header"])
    if header.kind is StudyKind.SLIDE:
        return parse_slide_answer(message, header)
    if "stack" in message:
        return parse_stack_answer(message, header)
    if header.kind is StudyKind.VIDEO:
        return parse_video_answer(pipe, message, header)
    return parse_study_answer(pipe, message, header, limits)


def _locate(path: str | os.PathLike[str]) -> bytes:
    """The path in a form that means the same to a process in another folder; what is no path stays as it is."""
    raw = os.fsencode(os.fspath(path))
    return os.path.join(os.getcwdb(), raw) if raw and not is_address(os.fsdecode(raw)) else raw


_lock = threading.Lock()
_idle: list[DecodeWorker] = []


@contextlib.contextmanager
def borrow_worker() -> Iterator[DecodeWorker]:
    """A warm worker where there is one, else a new one; taken back in the end if it may get another job."""
    with _lock:
        worker = _idle.pop() if _idle else None
    if worker is None or not worker.usable:
        worker = DecodeWorker()
    try:
        yield worker
    finally:
        if worker.usable:
            with _lock:
                if worker.jobs_left <= _WARMED_AHEAD and not _idle:
                    _idle.append(DecodeWorker())  # its start is over when this one is replaced
                _idle.append(worker)
        else:
            worker.stop()


@atexit.register
def _stop_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().stop()
