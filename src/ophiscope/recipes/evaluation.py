"""Wires evaluations: which benchmarks, models, interventions and baselines there are."""

from collections.abc import Mapping

from ophiscope.errors import WrongInput
from ophiscope.eval.arm import Arm
from ophiscope.eval.arms import BASELINES, INTERVENTIONS
from ophiscope.eval.benchmarks.registry import BENCHMARKS, find_benchmark
from ophiscope.eval.hub import fetch
from ophiscope.eval.open_run import OpenedRun, open_run
from ophiscope.eval.run_spec import RunSpec

__all__ = ["find_arms", "list_everything", "open_evaluation"]


def open_evaluation(spec: RunSpec) -> OpenedRun:
    """Open what is asked for.

    Raises:
        WrongInput: If anything that is named does not exist or does not fit.
    """
    return open_run(spec, find_benchmark, fetch=fetch)


def find_arms(interventions: str, baselines: str) -> tuple[Arm, ...]:
    """The arms of two lists of names with commas; ``all`` are all of them.

    Raises:
        WrongInput: If a name is none.
    """
    return (*_choose("intervention", INTERVENTIONS, interventions), *_choose("baseline", BASELINES, baselines))


def _choose(what: str, known: Mapping[str, Arm], names: str) -> list[Arm]:
    if names.strip() == "all":
        return list(known.values())
    found = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in known:
            raise WrongInput(f"Unknown {what} {name!r}; accepted are all, {', '.join(known)}.")
        found.append(known[name])
    return found


def list_everything() -> dict[str, dict[str, str]]:
    """Names with one line each: benchmarks, interventions, baselines."""
    benchmarks = {name: f"{one.about} ({one.license})" for name in BENCHMARKS.names for one in (BENCHMARKS.get(name),)}
    return {
        "benchmarks": benchmarks,
        "interventions": {name: arm.about for name, arm in INTERVENTIONS.items()},
        "baselines": {name: arm.about for name, arm in BASELINES.items()},
    }
