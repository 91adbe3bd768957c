"""What a tool showed, changed before the model reads it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ophiscope.agent.drivers import Serve
from ophiscope.agent.effects import Invoke
from ophiscope.core.view import Picture
from ophiscope.tools.tool import Observation

__all__ = ["blank_picture", "change_pictures"]

_GREY = 127


def blank_picture(picture: Picture) -> Picture:
    """The same view in plain grey."""
    return replace(picture, pixels_H_W_3=np.full_like(picture.pixels_H_W_3, _GREY))


def change_pictures(change: Callable[[Picture], Picture]) -> Serve:
    """Every observation with its text as it is and its pictures changed."""

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        seen = run()
        return replace(seen, pictures=tuple(change(picture) for picture in seen.pictures))

    return serve
