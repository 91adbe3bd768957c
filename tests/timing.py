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
