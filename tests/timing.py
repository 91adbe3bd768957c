"""Processor time of a piece of work, for tests of how it grows."""

import time
from collections.abc import Callable


def least_seconds(work: Callable[[], object], *, enough: float = 0.0, tries: int = 40) -> float:
    """Least processor time of a few runs of ``work``.

    Args:
        work: What is timed; its first runs may warm caches.
        enough: Stop as soon as a run is this fast. A busy machine slows any run, so a bound is only missed when no
            run of many keeps it.
        tries: Most runs.
    """
    least = float("inf")
    for _ in range(tries):
        start = time.thread_time()
        work()
        least = min(least, time.thread_time() - start)
        if least <= enough:
            break
    return least


def grows_linearly(small: Callable[[], object], large: Callable[[], object], *, seconds: float | None = None) -> bool:
    """Whether ten times the work takes less than 32 times as long.

    That lies halfway, as a ratio, between what grows in proportion (10) and what grows with the square (100): caches
    and other processes shift a ratio by less. Below 2 ms they shift it by more, so that is the least base.

    Args:
        small: A piece of work.
        large: Ten times as much of it.
        seconds: Of the small piece, where they are known.
    """
    base = least_seconds(small, tries=5) if seconds is None else seconds
    bound = 32 * max(base, 0.002)
    return least_seconds(large, enough=bound) <= bound
