"""Where phantoms are drawn from: what a model is trained on, and what is held out to see whether it generalises."""

from dataclasses import dataclass

from ophiscope.worlds.draw import HELD_OUT_SIZE, Needle, Recipe
from ophiscope.worlds.world import Look, Outline

__all__ = ["HELD_OUT", "IN_DOMAIN", "UNFAMILIAR", "Domain"]


@dataclass(frozen=True, slots=True)
class Domain:
    """Where phantoms are drawn from; the default is what nano is trained on."""

    look: Look | None = None
    outlines: tuple[Outline, ...] = (Outline.ROUND, Outline.OVAL, Outline.LOBED)
    width_px: int | None = None
    fineness: float = 1.0
    unfamiliar: bool = False

    def build_recipe(self, kind: str) -> Recipe:
        """How a world of this domain is drawn for a :class:`~ophiscope.worlds.draw.Needle` question."""
        return Recipe(Needle(kind), self.look, self.outlines, self.width_px, self.fineness, unfamiliar=self.unfamiliar)


IN_DOMAIN = Domain()
UNFAMILIAR = Domain(unfamiliar=True)
"""Seen in training now and then, so that nothing leans on the levels of a modality; in no set that is reported."""
HELD_OUT = {
    "appearance": Domain(look=Look.XRAY),
    "lesion family": Domain(outlines=(Outline.ANGULAR,)),
    "image size": Domain(width_px=HELD_OUT_SIZE),
}
