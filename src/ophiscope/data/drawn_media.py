"""Media that are drawn when they are looked at: named by their recipe, so that a set of them needs no disk."""

from urllib.parse import parse_qsl, urlencode

from ophiscope.core.study import Study
from ophiscope.errors import WrongInput
from ophiscope.worlds.draw import Needle, Recipe, draw_world
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_study import build_lazy_procedure
from ophiscope.worlds.study import build_lazy_phantom

__all__ = ["DRAWN", "name_phantom", "name_procedure", "open_drawn", "parse_procedure"]

DRAWN = "drawn:"
_PHANTOM, _PROCEDURE = f"{DRAWN}phantom?", f"{DRAWN}procedure?"


def name_phantom(seed: int, needle: Needle) -> str:
    """The name of a drawn picture of the usual domain."""
    return _PHANTOM + urlencode({"seed": seed, "needle": needle.value})


def name_procedure(seed: int, recipe: ProcedureRecipe) -> str:
    """The name of a drawn recording; only what differs by number can be said in it.

    Raises:
        ValueError: If the recipe holds out or adds actions or instruments.
    """
    plain = ProcedureRecipe()
    if recipe.actions != plain.actions or recipe.idles != plain.idles:
        raise ValueError("A drawn recording is named only with the usual actions and instruments.")
    facts = {
        "seed": seed,
        "seconds": f"{recipe.least_s:g}-{recipe.most_s:g}",
        "events": f"{recipe.events[0]}-{recipe.events[1]}",
        "attempts": f"{recipe.attempts[0]}-{recipe.attempts[1]}",
        "fps": f"{recipe.frames_per_s:g}",
    }
    return _PROCEDURE + urlencode(facts)


def parse_procedure(name: str) -> Procedure:
    """What :func:`name_procedure` named.

    Raises:
        WrongInput: If it names nothing.
    """
    try:
        facts = dict(parse_qsl(name.removeprefix(_PROCEDURE), strict_parsing=True))
        least_s, most_s = (float(value) for value in facts["seconds"].split("-"))
        events, attempts = (tuple(int(value) for value in facts[key].split("-")) for key in ("events", "attempts"))
        recipe = ProcedureRecipe(
            least_s=least_s,
            most_s=most_s,
            events=(events[0], events[1]),
            attempts=(attempts[0], attempts[1]),
            frames_per_s=float(facts["fps"]),
        )
        if not (name.startswith(_PROCEDURE) and 1 <= least_s <= most_s <= 86_400 and 0 < recipe.frames_per_s <= 120):
            raise ValueError(name)
        return draw_procedure(int(facts["seed"]), recipe)
    except (KeyError, ValueError, IndexError):
        raise WrongInput(f"{name[:80]!r} names nothing that can be drawn.") from None


def open_drawn(name: str, *, study: str = "S1") -> Study:
    """The study of a drawn medium.

    Raises:
        WrongInput: If the name means nothing.
    """
    if not name.startswith(_PHANTOM):
        return build_lazy_procedure(parse_procedure(name), study=study)
    try:
        facts = dict(parse_qsl(name.removeprefix(_PHANTOM), strict_parsing=True))
        return build_lazy_phantom(draw_world(int(facts["seed"]), Recipe(Needle(facts["needle"]))), study=study)
    except (KeyError, ValueError):
        raise WrongInput(f"{name[:80]!r} names nothing that can be drawn.") from None
