"""The recipes that ``ophiscope train`` knows, and how one of them is run."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ophiscope.errors import WrongInput
from ophiscope.recipes.config import read_config

__all__ = ["RECIPES", "Recipe", "RunOptions", "find_recipe", "list_recipes", "run_recipe"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Recipe:
    """A folder here, with ``config.toml`` and README."""

    folder: str
    module: str
    """Where ``schema`` and ``build_draw`` are."""
    schema: str
    summary: str

    @property
    def config(self) -> Path:
        """Its defaults."""
        return _HERE / self.folder / "config.toml"


RECIPES = {
    "nano_image": Recipe(
        "nano", "ophiscope.recipes.nano.reinforce", "ImageRunConfig", "agentic tool RL of nano on drawn pictures"
    ),
    "nano_video": Recipe(
        "nano_video", "ophiscope.recipes.nano_video.reinforce", "VideoRunConfig", "GA-GRPO of nano on drawn procedures"
    ),
}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How ``train`` was called."""

    changes: tuple[str, ...]
    """``key=value``."""
    out: Path | None
    dry_run: bool
    tell: Callable[[str], None]
    """Hears lines of progress."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        WrongInput: If there is none.
    """
    if name not in RECIPES:
        raise WrongInput(f"Unknown recipe {name!r}; accepted are {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]


def run_recipe(name: str, options: RunOptions) -> dict[str, Any]:
    """Run a recipe, or only look whether it would run.

    Returns:
        What ``--json`` prints.

    Raises:
        OphiscopeError: As reading its config, its model and :func:`ophiscope.train.reinforce.reinforce`.
    """
    recipe = find_recipe(name)
    module: Any = import_module(recipe.module)
    import torch

    from ophiscope.train.reinforce import describe_model, reinforce

    torch.set_num_threads(1)  # small matrices gain nothing from more
    config = read_config(recipe.config, options.changes, getattr(module, recipe.schema))
    model = _load(config.start)
    draw = module.build_draw(config, model)
    said: dict[str, Any] = {"recipe": name, "model": describe_model(model)}
    if options.dry_run:
        return said | _try_out(config, model, draw)
    from ophiscope.models.local.load import write_checkpoint
    from ophiscope.train.plots import can_plot, plot_run
    from ophiscope.train.run_folder import RunFolder

    folder = RunFolder(options.out or Path("runs") / name, config.model_dump(mode="json"))
    try:
        reinforce(model, draw, config, folder, tell=options.tell)
        checkpoint = folder.path / "checkpoint"
        checkpoint.mkdir(exist_ok=True)
        write_checkpoint(checkpoint, model.parts.model, model.parts.codec.tokenizer, half=True)
        metrics = folder.read_metrics()
        if can_plot():
            plot_run(metrics, folder.path / "figures.png")
    finally:
        folder.close()
    return said | {"out": str(folder.path), "checkpoint": str(checkpoint), "steps": len(metrics), "last": metrics[-1]}


def _load(start: str) -> Any:
    from ophiscope.models.local.load import load_local

    if start.startswith(("openai:", "replay:")):
        raise WrongInput(f"start = {start}: only weights in this process can be trained (nano, nano-video, hf:DIR).")
    return load_local(start)


def _try_out(config: Any, model: Any, draw: Callable[[int], Any]) -> dict[str, Any]:
    """Two small steps that change nothing that is kept."""
    from ophiscope.train.grpo import Grpo, GrpoSettings

    began = time.monotonic()
    trainer = Grpo(model, draw, lambda: None, GrpoSettings(config.rl.advantage, group=2, questions=1, seed=config.seed))
    reports = [trainer.step(number) for number in range(2)]
    seconds = (time.monotonic() - began) / 4
    episodes = config.rl.group * config.rl.questions
    return {
        "dry_run": True,
        "steps": config.steps,
        "seconds_a_step_about": round(seconds * episodes, 1),
        "tokens_an_episode": sum(report.tokens for report in reports) / 4,
        "ratio_off": max(report.ratio_off for report in reports),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def list_recipes() -> Sequence[str]:
    """Names and what they do, a line each."""
    return [f"{name}: {recipe.summary}" for name, recipe in RECIPES.items()]
