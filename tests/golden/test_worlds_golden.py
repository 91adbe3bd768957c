"""Worlds, questions and trajectories of forty seeds, as they were when nano was trained on them.

A change here means that published figures and weights no longer belong to these worlds: it is a decision, not a fix.
Texts must be equal. Pictures are kept as coarse means and deviations of their grey levels, which must agree within one
level: the last bits of a float differ between machines.

To write the file anew: ``python tests/golden/test_worlds_golden.py`` with ``src`` and ``tests`` on the path.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ophiscope.core.message import Role
from ophiscope.worlds.draw import Needle
from world_cases import draw_task, run_seed

GOLDEN = Path(__file__).with_name("worlds.json")
CASES = [(needle, seed) for needle in Needle for seed in range(8)]
_CELLS = 3


def describe(needle: Needle, seed: int) -> dict[str, Any]:
    """What is kept of one seed."""
    ran, posed = run_seed(seed, needle), draw_task(seed, needle).posed
    return {
        "question": posed.case.question,
        "options": list(posed.case.options),
        "key": [posed.key.kind.value, posed.key.text, posed.key.group, posed.key.least_calls, *posed.key.needed_tools],
        "boxes": [[round(value) for value in box.root_xyxy] for box in posed.key.evidence_boxes],
        "turns": [message.text for message in ran.outcome.messages if message.role is Role.ASSISTANT],
        "views": [describe_picture(view.picture.pixels_H_W_3) for view in ran.outcome.views],
    }


def describe_picture(pixels_H_W_3: np.ndarray) -> list[int]:
    """Tenths of a level: means of nine cells, then deviations of them, from top left to bottom right."""
    h, w = (side // _CELLS for side in pixels_H_W_3.shape[:2])
    grey = pixels_H_W_3[: h * _CELLS, : w * _CELLS].mean(axis=2)
    cells = grey.reshape(_CELLS, h, _CELLS, w)
    found = np.concatenate([cells.mean(axis=(1, 3)).ravel(), cells.std(axis=(1, 3)).ravel()])
    return [round(float(value) * 10) for value in found]


@pytest.mark.parametrize(("needle", "seed"), CASES)
def test_worlds_are_those_of_the_training(needle: Needle, seed: int) -> None:
    kept = json.loads(GOLDEN.read_text())[f"{needle.value} {seed}"]
    found = describe(needle, seed)
    pictures, wanted = found.pop("views"), kept.pop("views")
    assert found == kept
    assert len(pictures) == len(wanted)
    assert np.abs(np.asarray(pictures) - np.asarray(wanted)).max() <= 10


def write_golden() -> None:
    """Write the file from the code as it is."""
    lines = [f"{json.dumps(f'{needle.value} {seed}')}: {json.dumps(describe(needle, seed))}" for needle, seed in CASES]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write_golden()
