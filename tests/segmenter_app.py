"""A service whose segmenter takes what is bright: as small as one can be, run as a real process by tests.

``python tests/segmenter_app.py --port 0 [--slow SECONDS] [--load SECONDS] [--broken]``
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "services"))

from segmenter_service import run
from segmenter_wire import Backend, Found, NotServed, Prompt


class Bright:
    """What is bright, in the box where there is one. ``slow`` seconds for each request."""

    name = "bright"
    weights_sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    targets: tuple[str, ...] | None = ("square", "disc")
    prompts = ("box", "text")

    def __init__(self, slow_s: float = 0.0, *, broken: bool = False) -> None:
        self._slow_s, self._broken = slow_s, broken

    def segment(self, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[Found | NotServed]:
        time.sleep(self._slow_s)
        if self._broken:
            raise RuntimeError("/srv/secret of the patient")
        return [self._segment(picture_H_W_3, prompt) for prompt in prompts]

    def _segment(self, picture_H_W_3: np.ndarray, prompt: Prompt) -> Found | NotServed:
        if prompt.modality == "US":
            return NotServed("not_applicable", "ultrasound is not served")
        values = picture_H_W_3[:, :, 0] / 255.0
        if prompt.box is not None:
            x0, y0, x1, y1 = map(round, prompt.box)
            inside = np.zeros(values.shape)
            inside[y0:y1, x0:x1] = 1
            values = values * inside
        return Found(values, 0.75, float(values.max() >= 0.5))


def build(asked: argparse.Namespace) -> Backend:
    time.sleep(asked.load)
    return Bright(asked.slow, broken=asked.broken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--load", type=float, default=0.0)
    parser.add_argument("--broken", action="store_true")
    sys.exit(run(build, parser))
