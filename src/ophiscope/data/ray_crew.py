"""Items of a build on a Ray cluster: the same plan, opened once by every actor; lines come back and are kept as usual.

Ray Data moves the places of items to actors and lines back. The folder of the set has to be shared by all machines, as
media are written where they are made.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ophiscope.data.build import MakePlan, list_order, make_line
from ophiscope.data.plan import BuildOptions
from ophiscope.errors import WrongInput

__all__ = ["RayCrew"]

_LOCAL = "local"


class _Actor:
    """One worker: a plan of its own."""

    def __init__(self, make_plan: MakePlan, options: BuildOptions, folder: str) -> None:
        self._plan = make_plan(options, Path(folder))
        self._order = list_order(self._plan.count, options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        places = [int(place) for place in batch["place"]]
        return {"line": [make_line(self._plan, place, self._order[place]) for place in places]}


class RayCrew:
    """A :class:`~ophiscope.data.build.Crew` of actors.

    Args:
        address: Of the cluster; ``local`` starts one here, ``auto`` finds a running one.
        make_plan: Opens the source.
        options: Of the build.
        folder: Of the set, as all machines see it.
        workers: Actors.

    Raises:
        WrongInput: If Ray is not installed, or the cluster does not answer.
    """

    def __init__(self, address: str, make_plan: MakePlan, options: BuildOptions, folder: Path, *, workers: int) -> None:
        try:
            import ray
            import ray.data
        except ImportError:
            raise WrongInput("--ray needs Ray; install ophiscope[ray].") from None
        try:
            ray.init(
                None if address == _LOCAL else address,
                num_cpus=workers if address == _LOCAL else None,
                include_dashboard=False,
                log_to_driver=False,
                ignore_reinit_error=True,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise WrongInput(f"The Ray cluster {address} does not answer: {str(error).splitlines()[0]}.") from None
        self._ray: Any = ray
        self._begin = (make_plan, options, str(folder.absolute()))
        self._workers = workers

    def work(self, items: Sequence[int]) -> Iterator[str]:
        """See :class:`~ophiscope.data.build.Crew`."""
        if not items:
            return
        rows = self._ray.data.from_items([{"place": place} for place in items])
        compute = self._ray.data.ActorPoolStrategy(size=self._workers)
        lines = rows.map_batches(_Actor, fn_constructor_args=self._begin, batch_size=1, compute=compute)
        for row in lines.iter_rows():
            yield str(row["line"])
