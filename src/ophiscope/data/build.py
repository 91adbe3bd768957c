"""Builds a set: every item of a source through its recipe, in as many processes as wished, to be gone on with at any
time; then the parts that need to see all records (:mod:`ophiscope.data.assemble`).
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ophiscope.core.interrupt import raise_interrupt
from ophiscope.data.assemble import assemble
from ophiscope.data.finished import open_set
from ophiscope.data.journal import Journal, render_item
from ophiscope.data.plan import BuildOptions, Plan, Produced, is_noncommercial
from ophiscope.data.record import Rejected
from ophiscope.data.teacher import BudgetSpent
from ophiscope.errors import DiskFailed, Interrupted, MediaRejected, OphiscopeError, WrongInput

__all__ = ["BuildReport", "Crew", "MakePlan", "build_set", "list_order"]

MakePlan = Callable[[BuildOptions, Path], Plan]
"""Must be importable by name: other processes call it."""
_TELL_S = 5.0


class BuildReport(NamedTuple):
    """What a build came to."""

    items: int
    """Of the source, after the limit."""
    done: int
    records: int
    rejected: int
    stopped: str
    """Why it is not finished; empty where it is."""
    seconds: float
    """Of this part of the build."""


class Crew(Protocol):
    """Who works on items: gives the line of each, in any order."""

    def work(self, items: Sequence[int]) -> Iterator[str]:
        """Lines as they come; raises what a worker raised on purpose."""
        ...


def list_order(count: int, options: BuildOptions) -> list[int]:
    """The items of a build: shuffled by the seed, then limited."""
    order = np.random.default_rng([options.seed, 61]).permutation(count)
    return [int(item) for item in order[: options.limit]]


def check_licenses(licenses: Sequence[str], options: BuildOptions) -> None:
    """Refuse to mix what must not be sold with what may.

    Raises:
        WrongInput: If it is mixed and nobody said that it may be.
    """
    bound = sorted({one for one in licenses if is_noncommercial(one)})
    free = sorted({one for one in licenses if not is_noncommercial(one)})
    if bound and free and not options.allow_noncommercial:
        raise WrongInput(
            f"The source mixes {', '.join(bound)} with {', '.join(free)}: a set of both is bound by the first; "
            "say --allow-noncommercial if that is meant."
        )


def build_set(
    make_plan: MakePlan,
    options: BuildOptions,
    folder: Path,
    *,
    workers: int = 1,
    crew: Crew | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> BuildReport:
    """Build a set, or go on with one.

    Args:
        make_plan: Opens the source; called anew in every process.
        options: What the set depends on.
        folder: New, empty, or of this build.
        workers: Processes beside this one; 1 works in this one alone.
        crew: Who works instead (a cluster).
        tell: Hears of progress.

    Raises:
        OphiscopeError: If source or folder cannot be used, or the disk fails; what is done is kept.
        Interrupted: On Ctrl-C; likewise.
    """
    began = time.monotonic()
    journal = Journal(folder, options)
    try:
        if journal.is_finished:
            tell(f"{folder} holds this set, finished")
            manifest = open_set(folder).manifest
            done, kept, rejected = manifest["items"], manifest["records"], manifest["rejected"]["records"]
            return BuildReport(done, done, kept, rejected, "", 0.0)
        try:
            plan = make_plan(options, folder)
        except BaseException:
            journal.forget_if_empty()
            raise
        try:
            check_licenses(plan.licenses, options)
            for given in options.against:
                if not Path(given).exists():
                    raise WrongInput(f"The pictures {given} are not there.")
            order = list_order(plan.count, options)
            offsets = journal.find_offsets(len(order))
            waiting = [place for place in range(len(order)) if offsets[place] < 0]
            tell(f"{len(order)} items, {len(order) - len(waiting)} of them done before")
            chosen = crew or (_Alone(plan, order) if workers == 1 else _Processes(make_plan, options, folder, workers))
            stopped = _work(journal, chosen, waiting, tell)
        finally:
            plan.close()
        offsets = journal.find_offsets(len(order))
        done = int((offsets >= 0).sum())
        if stopped:
            return BuildReport(len(order), done, 0, 0, stopped, time.monotonic() - began)
        tell("all items are done; duplicates, splits and balance")
        kept, rejected = assemble(journal, offsets, options)
        journal.finish()
        return BuildReport(len(order), done, kept, rejected, "", time.monotonic() - began)
    finally:
        journal.close()


def _work(journal: Journal, crew: Crew, waiting: list[int], tell: Callable[[str], None]) -> str:
    """Do what is left; gives why it stopped before the end, or nothing."""
    began = told = time.monotonic()
    done = 0
    try:
        for line in crew.work(waiting):
            journal.append(line)
            done += 1
            now = time.monotonic()
            if now - told > _TELL_S:
                rate, told = done / (now - began), now
                left_min = (len(waiting) - done) / rate / 60
                tell(f"{done} of {len(waiting)} items that were left, {rate:.1f} a second, {left_min:.0f} min to go")
    except BudgetSpent as spent:
        return str(spent)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted with {done} more items done; the same command goes on") from None
    except BrokenProcessPool:
        raise DiskFailed(f"A worker died; {done} more items are done, and the same command goes on.") from None
    return ""


def make_line(plan: Plan, place: int, item: int) -> str:
    """The line of one item; what goes wrong with it is told in it and ends nothing else.

    Raises:
        DiskFailed: If a medium cannot be written.
        BudgetSpent: If the teacher may not be asked any more.
    """
    try:
        produced = plan.make(item)
    except (DiskFailed, BudgetSpent):
        raise
    except Exception as error:
        raise_interrupt(error)
        produced = Produced((), (_describe(plan.name(item), error),))
    return render_item(place, produced)


def _describe(item: str, error: Exception) -> Rejected:
    if isinstance(error, MediaRejected):
        return Rejected(item=item, stage="read", reason=f"refused: {error.code.value}", detail=error.nameless)
    if isinstance(error, OphiscopeError):
        return Rejected(item=item, stage="read", reason=f"refused: {type(error).__name__}", detail=str(error))
    return Rejected(item=item, stage="read", reason="defect", detail=f"{type(error).__name__} at {_find_place(error)}")


def _find_place(error: Exception) -> str:
    """Of a defect, the line that raised: what it says may hold anything."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


class _Alone:
    """This process."""

    def __init__(self, plan: Plan, order: list[int]) -> None:
        self._plan, self._order = plan, order

    def work(self, items: Sequence[int]) -> Iterator[str]:
        for place in items:
            yield make_line(self._plan, place, self._order[place])


class _Processes:
    """Several, each with a plan of its own."""

    def __init__(self, make_plan: MakePlan, options: BuildOptions, folder: Path, workers: int) -> None:
        self._begin = (make_plan, options, folder)
        self._workers = workers

    def work(self, items: Sequence[int]) -> Iterator[str]:
        if not items:
            return
        with ProcessPoolExecutor(self._workers, get_context("spawn"), _open_plan, self._begin) as pool:
            places = iter(items)
            running: deque[Future[str]] = deque(
                pool.submit(_make_here, place) for place in islice(places, 2 * self._workers)
            )
            try:
                while running:
                    future = _take_finished(running)
                    yield future.result()
                    for following in islice(places, 1):
                        running.append(pool.submit(_make_here, following))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _take_finished(running: deque[Future[str]]) -> Future[str]:
    """The first that is done, waiting for one where none is: an item is written down as soon as it can be."""
    wait(running, return_when=FIRST_COMPLETED)
    chosen = next(future for future in running if future.done())
    running.remove(chosen)
    return chosen


_here: dict[str, Any] = {}
"""Of a worker process: its plan and order."""


def _open_plan(make_plan: MakePlan, options: BuildOptions, folder: Path) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the builder's business
    plan = make_plan(options, folder)
    _here.update(plan=plan, order=list_order(plan.count, options))


def _make_here(place: int) -> str:
    return make_line(_here["plan"], place, _here["order"][place])
