"""How fast the environment serves zooms, on one core.

Run: ``python benchmarks/bench_env.py``
"""

import statistics
import time

from ophiscope import env
from ophiscope.core.action import Call
from ophiscope.protocol.grammar import render_call

EPISODES, ZOOMS, ROUNDS = 12, 6, 5


def main() -> None:
    """Print zooms a second (median of rounds), and what an episode's beginning costs."""
    environment = env.make("atrl")
    rates, opened = [], []
    for turn in range(ROUNDS):
        spent_s = 0.0
        for seed in range(EPISODES):
            began = time.perf_counter()
            environment.reset("phantom-image/L1", turn * EPISODES + seed)
            opened.append(time.perf_counter() - began)
            began = time.perf_counter()
            for zoom in range(ZOOMS):
                box = [100 * zoom, 100, 100 * zoom + 300, 400]
                environment.step(render_call(Call("zoom_in", {"view": 1, "box": box}, think="So.")))
            spent_s += time.perf_counter() - began
        rates.append(EPISODES * ZOOMS / spent_s)
    print(f"zooms a second: {statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f}, {ROUNDS} rounds)")
    print(f"to begin an episode: {1000 * statistics.median(opened):.1f} ms")


if __name__ == "__main__":
    main()
