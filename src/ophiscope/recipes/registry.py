"""The recipes that ``ophiscope train`` knows, and how a stage of one of them is run."""

import resource
import tempfile
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
_RL = "reinforce"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A folder here, with ``config.toml`` and README."""

    folder: str
    module: str
    """Where ``schema``, ``build_draw`` (questions with their truth) and ``build_teach`` (conversations) are."""
    schema: str
    stages: tuple[str, ...]
    """In their order; all but ``reinforce`` are supervised."""
    summary: str
    elsewhere: bool = False
    """Whether it names a checkpoint that is not shipped: a dry run takes a tiny one of the same class."""

    @property
    def config(self) -> Path:
        """Its defaults."""
        return _HERE / self.folder / "config.toml"


_OWN = "ophiscope.recipes.own"
RECIPES = {
    "nano_image": Recipe(
        "nano",
        "ophiscope.recipes.nano.reinforce",
        "ImageRunConfig",
        ("cold_start", "reflect", _RL),
        "nano on drawn pictures",
    ),
    "nano_video": Recipe(
        "nano_video",
        "ophiscope.recipes.nano_video.reinforce",
        "VideoRunConfig",
        ("warm_up", "cold_start", _RL),
        "nano on drawn procedures",
    ),
    "ophiuchus_7b": Recipe(
        "ophiuchus_7b",
        _OWN,
        "OwnRunConfig",
        ("cold_start", "reflect", _RL),
        "Qwen2.5-VL-7B that thinks with images",
        elsewhere=True,
    ),
    "medscope_7b": Recipe(
        "medscope_7b",
        _OWN,
        "OwnRunConfig",
        ("warm_up", "cold_start", _RL),
        "Qwen3-VL-8B that thinks with videos",
        elsewhere=True,
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


def run_recipe(name: str, options: RunOptions) -> dict[str, Any] | None:
    """Run a stage of a recipe, or only look whether it would run.

    Returns:
        What ``--json`` prints; None in all but the first of several processes.

    Raises:
        OphiscopeError: As reading its config, its model, and the stage itself.
    """
    recipe = find_recipe(name)
    module: Any = import_module(recipe.module)
    import torch

    from ophiscope.train.ranks import find_ranks

    torch.set_num_threads(1)  # small matrices gain nothing from more
    config = read_config(recipe.config, options.changes, getattr(module, recipe.schema))
    if config.stage not in recipe.stages:
        raise WrongInput(f"stage = {config.stage!r} is none of {name}; accepted are {', '.join(recipe.stages)}.")
    said: dict[str, Any] = {"recipe": name, "stage": config.stage}
    ranks = find_ranks(config.device)
    if options.dry_run:
        return said | _try_out(recipe, module, config, options.tell) if ranks.keeps else None
    model = _load(config.start, config.device, ranks.local_rank)
    if not ranks.keeps:
        _run_stage(module, config, model, folder=None, tell=lambda line: None, ranks=ranks)
        return None
    from ophiscope.train.run_folder import RunFolder

    folder = RunFolder(options.out or Path("runs") / name / config.stage, config.model_dump(mode="json"))
    try:
        _run_stage(module, config, model, folder=folder, tell=options.tell, ranks=ranks)
        return said | _finish(config, model, folder)
    finally:
        folder.close()


def _run_stage(module: Any, config: Any, model: Any, *, folder: Any, tell: Callable[[str], None], ranks: Any) -> None:
    """Take all steps that are left, and merge the adapters."""
    from ophiscope.train.reinforce import reinforce
    from ophiscope.train.supervise import supervise

    if config.stage == _RL:
        weights = reinforce(model, module.build_draw(config, model, tell), config, folder, tell=tell, ranks=ranks)
    else:
        weights = supervise(model, _build_teach(module, config, model, tell), config, folder, tell=tell, ranks=ranks)
    weights.merge()


def _build_teach(module: Any, config: Any, model: Any, tell: Callable[[str], None]) -> Any:
    """The conversations of a supervised stage: those of sets where there are any."""
    if not config.sets:
        return module.build_teach(config, model, tell)
    from ophiscope.recipes.set_lessons import teach_by_sets

    tell(f"the episodes of {', '.join(config.sets)}")
    return teach_by_sets(config.sets, model.card, seed=config.seed)


def _finish(config: Any, model: Any, folder: Any) -> dict[str, Any]:
    """Write the checkpoint and the plots; gives what ``--json`` prints of them."""
    from ophiscope.models.local.load import write_checkpoint
    from ophiscope.train.plots import can_plot, plot_run
    from ophiscope.train.reinforce import describe_model

    checkpoint = folder.path / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    write_checkpoint(checkpoint, model.parts.model, model.parts.codec.tokenizer, half=True)
    metrics = folder.read_metrics()
    if config.stage == _RL and can_plot():
        plot_run(metrics, folder.path / "figures.png")
    said = {"out": str(folder.path), "checkpoint": str(checkpoint), "steps": len(metrics), "last": metrics[-1]}
    return {"model": describe_model(model), **said}


def _load(start: str, device: str, number: int = 0) -> Any:
    """The model of a run; on the GPU of this number."""
    from ophiscope.models.local.load import load_local

    if start.startswith(("openai:", "replay:")):
        raise WrongInput(f"start = {start}: only weights in this process can be trained (nano, nano-video, hf:DIR).")
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise WrongInput(f"device = {device}: there is none here; device=cpu, or --dry-run, runs anywhere.")
        device = f"{device}:{number}"
    return load_local(start, device=device)


def _try_out(recipe: Recipe, module: Any, config: Any, tell: Callable[[str], None]) -> dict[str, Any]:
    """Two small steps that change nothing that is kept."""
    from ophiscope.train.reinforce import describe_model

    real: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if recipe.elsewhere:
            from ophiscope.recipes.architecture import measure_architecture

            real = {"on_the_hardware": measure_architecture(recipe.config.with_name("architecture.json"), config)}
            from ophiscope.models.local.tiny import shrink_views, write_tiny_checkpoint

            tell(f"a tiny checkpoint of the class {config.family} stands in for {config.start}")
            write_tiny_checkpoint(Path(folder), config.family)
            config = config.model_copy(
                update={"start": f"hf:{folder}", "device": "cpu", "max_reply_tokens": 32, "max_turns": 2}
            )
        model = _load(config.start, config.device)
        if recipe.elsewhere:
            model = shrink_views(model)
        try_stage = _try_reinforcing if config.stage == _RL else _try_teaching
        tried = try_stage(module, config, model, tell)
    if recipe.elsewhere:
        tried.pop("seconds_a_step_about")  # of a tiny model it says nothing
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    said = {"dry_run": True, "model": describe_model(model), "steps": config.steps, **tried, "memory_mb": peak}
    return said | real


def _try_reinforcing(module: Any, config: Any, model: Any, tell: Callable[[str], None]) -> dict[str, Any]:
    from ophiscope.train.grpo import Grpo, GrpoSettings
    from ophiscope.train.weights import Weights

    draw = module.build_draw(config, model, tell)
    Weights(model.parts.model, config.lora, tower=config.train_tower)
    began = time.monotonic()
    trainer = Grpo(model, draw, lambda: None, GrpoSettings(config.rl.advantage, group=2, questions=1, seed=config.seed))
    reports = [trainer.step(number) for number in range(2)]
    seconds = (time.monotonic() - began) / 4
    return {
        "seconds_a_step_about": round(seconds * config.rl.group * config.rl.questions, 1),
        "tokens_an_episode": sum(report.tokens for report in reports) / 4,
        "ratio_off": max(report.ratio_off for report in reports),
    }


def _try_teaching(module: Any, config: Any, model: Any, tell: Callable[[str], None]) -> dict[str, Any]:
    from ophiscope.train.supervise import Lessons, Teacher
    from ophiscope.train.weights import Weights

    teach = _build_teach(module, config, model, tell)
    Weights(model.parts.model, config.lora, tower=config.train_tower)
    small = config.model_copy(update={"sft": config.sft.model_copy(update={"batch": 2, "pool": 2, "micro": 2})})
    lessons = Lessons(teach, model, batch=small.sft.batch, pool=small.sft.pool, seed=config.seed)
    teacher = Teacher(model, lessons, lambda rate: None, small)
    began = time.monotonic()
    reports = [teacher.step(number) for number in range(2)]
    seconds = (time.monotonic() - began) / (2 * small.sft.batch)
    return {
        "seconds_a_step_about": round(seconds * config.sft.batch, 1),
        "tokens_learned_a_conversation": sum(report.tokens for report in reports) / (2 * small.sft.batch),
        "loss": reports[0].loss,
    }


def list_recipes() -> Sequence[str]:
    """Names and what they do, a line each."""
    return [f"{name}: {recipe.summary} ({' -> '.join(recipe.stages)})" for name, recipe in RECIPES.items()]
