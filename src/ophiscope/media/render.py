"""Values to something that can be shown: level and width, then 8 bits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.frame import Frame
from ophiscope.core.study import Study
from ophiscope.core.view import Picture
from ophiscope.core.window import Window

__all__ = ["compute_curved", "compute_display", "render_picture"]


def compute_display(values_H_W: NDArray[np.floating], window: Window, *, inverted: bool = False) -> NDArray[np.uint8]:
    """Grey levels of ``values_H_W`` (rescaled units) under ``window``; uint8 ``(H, W)``."""
    share = (values_H_W - (window.center - window.width / 2)) / window.width
    grey = np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.asarray(255 - grey if inverted else grey, dtype=np.uint8)


def compute_curved(
    values_H_W: NDArray[np.floating], curve: Sequence[tuple[float, float]], *, inverted: bool = False
) -> NDArray[np.uint8]:
    """Grey levels of ``values_H_W`` (rescaled units) by a curve of (value, grey 0..1); uint8 ``(H, W)``."""
    at, share = np.asarray(curve, np.float64).T
    grey = np.rint(np.clip(np.interp(values_H_W, at, share), 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.asarray(255 - grey if inverted else grey, dtype=np.uint8)


def render_picture(study: Study, frame: Frame, *, window: Window | None = None) -> Picture:
    """What ``frame`` shows of one picture, from clean pixels.

    Args:
        study: A still picture, or a frame or slice (:meth:`~ophiscope.core.study.Study.at`); ``frame`` must have its
            root.
        frame: The grid to show.
        window: Level and width of a scalar study; its default where None, by a curve where its file has one (then the
            picture says no window). Colour studies take none.

    Raises:
        ValueError: If the frame is of another root, or a colour study is given a window.
    """
    header, place = study.header, study.place
    if frame.root != header.root:
        raise ValueError(f"Frame of image {frame.root!r} cannot show image {header.root!r}.")
    values = study.source.read(frame.root_box_xyxy, frame.size_wh)
    if header.channels == 3:
        if window is not None:
            raise ValueError("A colour picture has no window; window applies to scalar studies (CT, MR, DX).")
        return Picture(header.study, frame, np.asarray(values, dtype=np.uint8), None, place)
    if window is None and header.default_curve is not None:
        grey = compute_curved(values.astype(np.float32), header.default_curve, inverted=header.inverted)
        return Picture(header.study, frame, np.repeat(grey[:, :, None], 3, axis=2), None, place)
    shown = window or header.default_window
    if shown is None:
        raise ValueError(f"Scalar study {header.study} has no default window and none was given.")
    grey = compute_display(values.astype(np.float32), shown, inverted=header.inverted)
    return Picture(header.study, frame, np.repeat(grey[:, :, None], 3, axis=2), shown, place)
