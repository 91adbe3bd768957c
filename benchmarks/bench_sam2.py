"""What a second box on a picture costs sam2, beside the first; random weights in the architecture of hiera tiny.

``python benchmarks/bench_sam2.py`` prints medians; nothing is asserted.
"""

import statistics
import time

import numpy as np
import torch
from transformers import Sam2Config
from transformers.models.sam2.modeling_sam2 import Sam2Model

from ophiscope.tools.segmenters.sam2 import Preprocessing, Sam2

RUNS = 3


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    how = Preprocessing(1024, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    sam2 = Sam2("sam2:random", Sam2Model(Sam2Config()).eval(), how, weights_sha256=None)
    rng = np.random.default_rng(0)
    first, second = [], []
    for _ in range(RUNS):
        picture = rng.integers(0, 256, (600, 800, 3), dtype=np.uint8)
        for seconds, box in ((first, (10.0, 20.0, 300.0, 400.0)), (second, (300.0, 200.0, 700.0, 500.0))):
            started = time.perf_counter()
            sam2.predict(picture, box_xyxy=box, target=None)
            seconds.append(time.perf_counter() - started)
    ratio = statistics.median(a / b for a, b in zip(first, second, strict=True))
    print(
        f"first box {statistics.median(first):.2f} s, second {statistics.median(second):.2f} s: {ratio:.1f}x   (aim 3)"
    )


if __name__ == "__main__":
    main()
