"""``ophiscope train``: run a recipe, with progress on stderr and one summary on stdout."""

import sys
from pathlib import Path

from ophiscope.apps.terminal import print_json, print_lines, render_plain
from ophiscope.errors import WrongInput
from ophiscope.recipes.registry import RunOptions, list_recipes, run_recipe

__all__ = ["run_train"]


def run_train(recipe: str | None, changes: tuple[str, ...], out: Path | None, *, dry_run: bool, as_json: bool) -> int:
    """Train, or say what can be.

    Raises:
        OphiscopeError: As :func:`ophiscope.recipes.registry.run_recipe`.
    """
    if recipe is None:
        if as_json:
            raise WrongInput("train --json needs a recipe; without one the recipes are listed.")
        print_lines(*list_recipes())
        return 0
    said = run_recipe(recipe, RunOptions(changes, out, dry_run, _tell))
    if said is None:
        return 0
    if as_json:
        print_json(said)
    elif dry_run:
        print_lines(*(f"{name}: {value}" for name, value in said.items()))
    else:
        print_lines(f"{said['steps']} steps in {said['out']}; ask it with --model hf:{said['checkpoint']}")
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(render_plain(line) + "\n")
    sys.stderr.flush()
