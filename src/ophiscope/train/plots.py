"""One picture of a training run: what was earned, and how it was looked."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["can_plot", "plot_run"]

_SHARES = ("correct", "looked", "evidence")
_SMOOTHED = 9
"""Steps of the running mean."""


def can_plot() -> bool:
    """Whether matplotlib is there (``pip install 'ophiscope[train]'``)."""
    return find_spec("matplotlib") is not None


def plot_run(metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG: parts of the reward at the left, shares of episodes at the right, calls below.

    Args:
        metrics: The figures of all steps.
        path: Of the PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    earned, shares, calls, loss = figure.subplots(2, 2).ravel()
    steps = [line["step"] for line in metrics]
    for name in sorted({name for line in metrics for name in line["rewards"]}):
        _draw(earned, steps, [line["rewards"].get(name, 0.0) for line in metrics], name)
    for name in _SHARES:
        known = [(line["step"], line[name]) for line in metrics if line[name] is not None]
        _draw(shares, [step for step, _ in known], [value for _, value in known], name)
    _draw(calls, steps, [line["calls"] for line in metrics], "calls an episode")
    _draw(calls, steps, [line["malformed"] for line in metrics], "malformed turns, share")
    _draw(loss, steps, [line["clipped"] for line in metrics], "clipped tokens, share")
    _draw(loss, steps, [line["silent"] for line in metrics], "silent groups, share")
    for axes, title in ((earned, "reward"), (shares, "share of episodes"), (calls, "calls"), (loss, "updates")):
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _draw(axes: Any, steps: Sequence[float], values: Sequence[float], name: str) -> None:
    """Every value faintly, their running mean clearly."""
    if not steps:
        return
    means = [
        sum(values[max(0, index - _SMOOTHED + 1) : index + 1]) / min(index + 1, _SMOOTHED)
        for index in range(len(values))
    ]
    (line,) = axes.plot(steps, means, label=name, linewidth=1.6)
    axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
