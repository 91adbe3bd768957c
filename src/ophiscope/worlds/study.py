"""A phantom as a study: drawn on demand for training, or as an array like any file."""

from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.media.root import ArraySource, compute_root_id
from ophiscope.worlds.render import STORED_OFFSET, PhantomSource
from ophiscope.worlds.world import World

__all__ = ["build_array_phantom", "build_lazy_phantom"]


def build_lazy_phantom(world: World, *, study: str = "S1") -> Study:
    """A study that draws only what is looked at; its root id names the recipe, not the pixels."""
    return Study(
        _build_header(world, study, f"phantom-{world.seed}-{world.look.value}-{world.size_wh[0]}"), PhantomSource(world)
    )


def build_array_phantom(world: World, *, study: str = "S1") -> Study:
    """The whole picture drawn once; what a trace can keep, and a replay compare."""
    array = PhantomSource(world).read_root()
    header = _build_header(world, study, compute_root_id(array))
    return Study(header, ArraySource(array, header.slope_intercept))


def _build_header(world: World, study: str, root: str) -> StudyHeader:
    scalar = world.default_window is not None
    return StudyHeader(
        study=study,
        kind=StudyKind.IMAGE,
        root=root,
        size_wh=world.size_wh,
        channels=1 if scalar else 3,
        modality=(world.code or world.look.value) if scalar else None,
        bits_stored=16 if scalar else 8,
        slope_intercept=(1.0, -STORED_OFFSET) if scalar else (1.0, 0.0),
        value_range=world.levels if scalar else (0.0, 255.0),
        default_window=world.default_window,
    )
