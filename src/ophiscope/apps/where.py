"""Where along a video or volume something lies, in words."""

from ophiscope.core.evidence import Evidence

__all__ = ["render_where"]


def render_where(entry: Evidence) -> str:
    """Where along its study an evidence lies: `` at 12.5 s``, `` axial from -20 to 10 mm``; empty for a picture."""
    axis = "" if entry.axis is None else f" {entry.axis}"
    stretch = entry.interval_s or entry.interval_mm
    unit = "s" if entry.axis is None else "mm"
    at = entry.time_s if entry.time_s is not None else entry.position_mm
    if stretch is not None:
        return f"{axis} from {stretch[0]:.2f} to {stretch[1]:.2f} {unit}"
    return "" if at is None else f"{axis} at {at:.2f} {unit}"
