"""What decoding in a worker process adds, beside the same decode in this process, in turn, in one run.

``python benchmarks/bench_worker.py`` prints medians and 95th percentiles; nothing is asserted.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ophiscope.apps.demo_command import find_demo_image
from ophiscope.media.decode import decode_study
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study

RUNS = 60


def measure(path: Path) -> tuple[list[float], list[float]]:
    """Milliseconds through the worker and in this process, in turn."""
    far, near = [], []
    for _ in range(RUNS):
        started = time.perf_counter()
        read_study(path)
        between = time.perf_counter()
        decode_study(path, ReadRequest())
        far.append(1e3 * (between - started))
        near.append(1e3 * (time.perf_counter() - between))
    return far, near


def main() -> None:
    """Print the table."""
    with find_demo_image() as demo, tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        read_study(demo)
        print(f"first file (the worker starts)       {time.perf_counter() - started:7.2f} s")
        large = Path(folder) / "large.png"
        noise = np.random.default_rng(0).integers(0, 256, (2048, 2048), dtype=np.uint8)
        Image.fromarray(noise).save(large, compress_level=1)
        for name, path in (("256x256 JPEG", Path(demo)), ("2048x2048 PNG", large)):
            far, near = measure(path)
            added = [a - b for a, b in zip(far, near, strict=True)]
            p95 = statistics.quantiles(added, n=20)[-1]
            print(
                f"{name:16} worker {statistics.median(far):7.1f} ms, here {statistics.median(near):7.1f} ms, "
                f"added {statistics.median(added):5.1f} ms, p95 {p95:5.1f} ms   (n={RUNS}, aim <= 15)"
            )


if __name__ == "__main__":
    main()
