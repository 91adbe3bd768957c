"""nano-seg, the segmenter embedded in Ophiscope, behind HTTP: the reference service, which the tests run.

``python services/nano_seg/app.py --port 9000``, in an environment with ``ophiscope[local]``; then
``ophiscope ask MEDIA QUESTION --segmenter remote:http://127.0.0.1:9000``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ophiscope.tools.segmenters.nano_seg import NanoSeg
from segmenter_service import run
from segmenter_wire import Backend, Found, Prompt


class NanoSegBackend:
    """The network as it is used in process; both kinds of prompt, a closed vocabulary."""

    name = "nano-seg"
    prompts = ("box", "text")

    def __init__(self) -> None:
        self._network = NanoSeg.load_default()
        self.weights_sha256 = self._network.weights_sha256
        self.targets = self._network.targets

    def segment(self, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[Found]:
        """See ``segmenter_service.Backend``."""
        said = [self._network.predict(picture_H_W_3, box_xyxy=one.box, target=one.target) for one in prompts]
        return [Found(one.probability_H_W, one.score, one.presence) for one in said]


def build(asked: argparse.Namespace) -> Backend:
    """Load the weights that are shipped in the package."""
    return NanoSegBackend()


if __name__ == "__main__":
    sys.exit(run(build, argparse.ArgumentParser(description="nano-seg behind HTTP.")))
