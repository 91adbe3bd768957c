"""The work behind ``ophiscope data``: progress on stderr, one result on stdout."""

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from ophiscope.apps.data_card import write_card
from ophiscope.apps.terminal import print_json, print_lines, render_plain
from ophiscope.data.build import build_set, list_order
from ophiscope.data.export import export_set
from ophiscope.data.finished import open_set
from ophiscope.data.plan import BuildOptions
from ophiscope.data.record import Record
from ophiscope.data.stats import compute_stats, render_stats
from ophiscope.data.validate import validate_set
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.recipes.sets.registry import find_set_recipe, list_set_recipes, make_plan

__all__ = ["BuildArguments", "run_build", "run_card", "run_export", "run_sample", "run_stats", "run_validate"]


class BuildArguments(NamedTuple):
    """How ``data build`` was called."""

    recipe: str | None
    asked: Mapping[str, Any]
    """Fields of :class:`~ophiscope.data.plan.BuildOptions`."""
    out: Path | None
    workers: int
    ray: str | None
    dry_run: bool
    as_json: bool


def run_build(arguments: BuildArguments) -> int:
    """Build a set, say what that would cost, or list the recipes.

    Raises:
        OphiscopeError: As :func:`~ophiscope.data.build.build_set`.
    """
    if arguments.recipe is None:
        if arguments.as_json:
            raise WrongInput("data build --json needs a recipe; without one the recipes are listed.")
        print_lines(*list_set_recipes())
        return 0
    find_set_recipe(arguments.recipe)
    options = _read_options(arguments)
    if arguments.dry_run:
        return _tell_cost(options, arguments)
    if arguments.out is None:
        raise WrongInput("data build needs --out DIR.")
    crew = None
    if arguments.ray is not None:
        from ophiscope.data.ray_crew import RayCrew

        crew = RayCrew(arguments.ray, make_plan, options, arguments.out, workers=arguments.workers)
    report = build_set(make_plan, options, arguments.out, workers=arguments.workers, crew=crew, tell=_tell)
    if report.stopped:
        _tell(f"stopped: {report.stopped}")
    said = {**report._asdict(), "seconds": round(report.seconds, 1), "out": str(arguments.out)}
    if arguments.as_json:
        print_json(said)
    elif report.stopped:
        print_lines(f"{report.done} of {report.items} items are done; the same command goes on")
    else:
        print_lines(
            f"{report.records} records from {report.items} items in {arguments.out}, {report.rejected} left out; "
            f"look at them: ophiscope data card {arguments.out}"
        )
    return 1 if report.stopped else 0


def _read_options(arguments: BuildArguments) -> BuildOptions:
    try:
        return BuildOptions.model_validate({"recipe": arguments.recipe, **arguments.asked})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise WrongInput(f"--{'-'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _tell_cost(options: BuildOptions, arguments: BuildArguments) -> int:
    """Items, and what a teacher would be asked; nothing is written or asked."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(options, Path(folder))
        plan.close()
    items = len(list_order(plan.count, options))
    questions = items * plan.estimate.get("questions", 0.0)
    calls = questions * plan.estimate.get("calls a question", 0.0) if options.teacher else 0.0
    said = {
        "dry_run": True,
        "recipe": options.recipe,
        "items": items,
        "licenses": list(plan.licenses),
        "teacher_calls_about": round(calls),
        "teacher_tokens_about": round(calls * plan.estimate.get("tokens a call", 0.0)),
    }
    if arguments.as_json:
        print_json(said)
    else:
        print_lines(*(f"{name}: {value}" for name, value in said.items()))
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(render_plain(line) + "\n")
    sys.stderr.flush()


def run_stats(folder: Path, *, as_json: bool) -> int:
    """The funnel and the counts of a set.

    Raises:
        WrongInput: If there is no set.
    """
    stats = compute_stats(open_set(folder))
    if as_json:
        print_json(stats.build_json())
    else:
        print_lines(*render_stats(stats))
    return 0


def run_card(folder: Path, out: Path | None, *, as_json: bool) -> int:
    """Write the page about a set.

    Raises:
        WrongInput: If there is no set.
        DiskFailed: If the page cannot be written.
    """
    page = out or folder / "card.html"
    write_card(open_set(folder), page)
    if as_json:
        print_json({"card": str(page)})
    else:
        print_lines(str(page))
    return 0


def run_validate(folder: Path, *, as_json: bool) -> int:
    """Say what is wrong with a set.

    Raises:
        WrongInput: If there is none.
        CheckFailed: If it is not sound.
    """
    found = validate_set(open_set(folder))
    if as_json:
        print_json({"sound": not found, "findings": found})
        return 1 if found else 0
    print_lines(*(found or ["sound"]))
    if found:
        raise CheckFailed(f"{folder} is not sound: {len(found)} findings.")
    return 0


def run_sample(folder: Path, n: int, seed: int, *, as_json: bool) -> int:
    """Show records, chosen evenly over the set from a seeded start.

    Raises:
        WrongInput: If there is no set.
    """
    finished = open_set(folder)
    total = int(finished.manifest["records"])
    chosen = set(np.random.default_rng(seed).permutation(total)[:n].tolist())
    last = max(chosen, default=-1)
    records = [record for at, record in enumerate(islice(finished.read(), last + 1)) if at in chosen]
    if as_json:
        print_json({"records": [record.model_dump(mode="json", exclude_defaults=True) for record in records]})
        return 0
    for record in records:
        print_lines(*_describe(record), "")
    return 0


def _describe(record: Record) -> list[str]:
    shown = ", ".join(record.media_paths) or "no medium"
    lines = [f"{record.id}  {record.kind.value}  {record.group}  {record.split}  {shown}"]
    lines += [f"  Q {record.question}", *(f"    - {option}" for option in record.options)]
    lines += [f"  A {line}" for line in record.answer.splitlines()]
    lines += [f"  from {record.interval_s[0]:g} to {record.interval_s[1]:g} s"] if record.interval_s else []
    lines += [f"  box {list(box)}" for box in record.boxes[:4]]
    lines += [f"  {turn.role}: {turn.text}" for turn in record.turns[1:]]
    return [*lines, f"  {record.origin.source}, {record.origin.license}, by {record.origin.teacher}"]


def run_export(folder: Path, form: str, out: Path, *, as_json: bool) -> int:
    """Write a set in another form.

    Raises:
        WrongInput: If there is no set, or the form or folder cannot be used.
        DiskFailed: If the disk refuses.
    """
    count = export_set(open_set(folder), form, out)
    if as_json:
        print_json({"form": form, "records": count, "out": str(out)})
    else:
        print_lines(f"{count} records in {out}")
    return 0
