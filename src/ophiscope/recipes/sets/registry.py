"""The recipes that ``ophiscope data build`` knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ophiscope.data.build import MakePlan
from ophiscope.data.plan import BuildOptions, Plan
from ophiscope.errors import WrongInput

__all__ = ["SET_RECIPES", "SetRecipe", "find_set_recipe", "list_set_recipes", "make_plan"]


@dataclass(frozen=True, slots=True)
class SetRecipe:
    """A way from a source to a set."""

    module: str
    plan: str
    """Name of the function there that opens the source."""
    summary: str
    asks: bool = True
    """Whether a teacher can have a part in it."""


_SETS = "ophiscope.recipes.sets"
_VQA = (f"{_SETS}.pictures", "plan_picture_questions")
_EPISODES = (f"{_SETS}.trajectories", "plan_picture_trajectories")
SET_RECIPES = {
    "seg_pack_vqa": SetRecipe(
        *_VQA, "questions that masks answer, about the pictures of a segmentation pack", asks=False
    ),
    "seg_pack_trajectories": SetRecipe(*_EPISODES, "episodes of who answers them with a segmenter"),
    "picture_vqa": SetRecipe(
        *_VQA, "the same about pictures of one's own: masks, COCO, label maps, DICOM SEG", asks=False
    ),
    "picture_trajectories": SetRecipe(*_EPISODES, "and the same episodes"),
    "phantom_image": SetRecipe(
        f"{_SETS}.phantoms", "plan_phantom_pictures", "drawn pictures, and an oracle that looks"
    ),
    "phantom_video_suite": SetRecipe(
        f"{_SETS}.procedures", "plan_procedures", "drawn recordings: captions, questions, chains of thought"
    ),
    "ophnet_grounding": SetRecipe(
        f"{_SETS}.videos", "plan_segments", "temporal questions from OphNet's annotation", asks=False
    ),
    "clinical_video": SetRecipe(
        f"{_SETS}.clinical", "plan_clinical", "videos of one's own with timed segments; with a teacher all stages"
    ),
}


def find_set_recipe(name: str) -> SetRecipe:
    """The recipe of a name.

    Raises:
        WrongInput: If there is none.
    """
    if name not in SET_RECIPES:
        raise WrongInput(f"Unknown recipe {name!r}; accepted are {', '.join(sorted(SET_RECIPES))}.")
    return SET_RECIPES[name]


def make_plan(options: BuildOptions, folder: Path) -> Plan:
    """Open the source of a build; see :data:`~ophiscope.data.build.MakePlan`.

    Raises:
        OphiscopeError: If the source cannot be used.
    """
    from importlib import import_module

    recipe = find_set_recipe(options.recipe)
    if options.teacher and not recipe.asks:
        raise WrongInput(f"{options.recipe} asks no model; leave --teacher out.")
    plan: MakePlan = getattr(import_module(recipe.module), recipe.plan)
    return plan(options, folder)


def list_set_recipes() -> Sequence[str]:
    """Names and what they do, a line each."""
    return [f"{name}: {recipe.summary}" for name, recipe in SET_RECIPES.items()]
