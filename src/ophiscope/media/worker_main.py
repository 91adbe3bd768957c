"""The other side of :mod:`ophiscope.media.workers`: a process that decodes until its input ends.

Its limits hold for all that it runs: no decoder of ours can take more memory or processor time, write a file or leave a
core behind.
"""

import os
import sys
from typing import Any, BinaryIO

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.limits import read_limits

__all__ = ["main"]

_READ_BYTES_PER_S = 50_000_000


def main() -> None:
    """Serve requests from standard input until it ends."""
    requests, answers = sys.stdin.buffer, _take_stdout()
    limits = read_limits()
    _limit_memory(limits.worker_bytes)
    # after the limits, as everything that a file may reach
    from ophiscope.media.worker_jobs import Jobs
    from ophiscope.media.worker_wire import read_message, write_message, write_refusal

    write_message(answers, {"ready": os.getpid()})
    jobs = Jobs(answers)
    while True:
        try:
            message = read_message(requests)
        except EOFError:
            return
        _limit_time(limits.worker_cpu_s + _count_reading_s(message))
        try:
            jobs.serve(message)
        except MediaRejected as refusal:
            write_refusal(answers, refusal)
        except MemoryError:
            why = f"it cannot be decoded within {limits.worker_bytes} bytes of memory (worker_bytes)"
            write_refusal(answers, MediaRejected(MediaCode.TOO_MANY_PIXELS, why))


def _take_stdout() -> BinaryIO:
    """Standard output for the answers alone: what a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return answers


def _limit_memory(most_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the deadline of the parent remains
        return
    for what, most in ((resource.RLIMIT_AS, most_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))


def _count_reading_s(message: dict[str, Any]) -> int:
    """More time for files that are gone through from end to end, however large they are (videos, slides)."""
    try:
        return os.stat(bytes.fromhex(message["path"])).st_size // _READ_BYTES_PER_S
    except (KeyError, ValueError, OSError):
        return 0


def _limit_time(job_s: int) -> None:
    """More processor time, counted from what was used so far."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + job_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
