"""What it costs to start: the package, the help, and a first answer, each beside a bare yardstick in the same run.

``python benchmarks/bench_start.py`` prints medians of whole processes and of repeated calls; nothing is asserted.
"""

import statistics
import subprocess
import sys
import time

from ophiscope.agent.ask import AskSettings, ask
from ophiscope.apps.demo_command import find_demo_image

RUNS = 5
TORCH = "import torch; from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration"


def time_process(arguments: list[str]) -> float:
    """Wall seconds of one process of this interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    with find_demo_image() as image:
        question = ["-m", "ophiscope", "ask", str(image), "Is there a polyp?", "--json"]
        rows = {
            "python -c pass": ["-c", "pass"],
            "import ophiscope": ["-c", "import ophiscope"],
            "ophiscope --help": ["-m", "ophiscope", "--help"],
            "import torch and the model class": ["-c", TORCH],
            "ophiscope ask (nano, cold)": question,
        }
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(RUNS):  # in turn, so that a drift of the machine meets every row
            for name, arguments in rows.items():
                seconds[name].append(time_process(arguments))
        for name, values in seconds.items():
            print(f"{name:36} {statistics.median(values):7.3f} s   ({min(values):.3f}..{max(values):.3f}, n={RUNS})")
        pairs = zip(seconds["ophiscope ask (nano, cold)"], seconds["import torch and the model class"], strict=True)
        print(f"{'cold ask / bare import':36} {statistics.median(a / b for a, b in pairs):7.2f} x   (aim <= 1.5)")
        warm = [time_ask(str(image)) for _ in range(RUNS + 1)][1:]
        print(f"{'second ask() in one process':36} {statistics.median(warm):7.3f} s   (aim <= 2)")


def time_ask(image: str) -> float:
    """Wall seconds of one call of the library function."""
    started = time.perf_counter()
    ask(image, "Is there a polyp?", settings=AskSettings())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
