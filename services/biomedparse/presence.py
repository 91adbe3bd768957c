"""Whether what BiomedParse outlined is what it was asked for: the model's own test, and presence from it.

BiomedParse outlines something for any words. Its authors therefore hold four numbers of the outline against what they
were on the training pictures of that target: the mean probability inside, and the mean red, green and blue inside
(Zhao et al., Nature Methods 2024, "Methods"; ``target_dist.json`` holds a Beta(a, b) for each, by modality and target).
The test of one number ``x`` is Kolmogorov's for a sample of one, whose two-sided p-value is ``2 min(F(x), 1 - F(x))``;
the four are multiplied and raised to 0.24, the authors' correction for the product. They take the target for absent
below 0.05.

What is ours: presence = p / (p + 0.05), which is one half at the authors' threshold and orders as p does. It is no
calibrated probability. Where several distributions may be meant (no modality, or two organs of one), the best counts:
the target is absent only if it is by all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import betainc

__all__ = ["Distributions", "compute_p_value", "compute_presence", "find_distributions"]

Distributions = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""By modality and target: four pairs a, b."""

_THRESHOLD = 0.05
_CORRECTION = 0.24
_GREY_HALF = 128
_GREYS = 256
_PREFIXES = {
    "CT": "CT",
    "MR": "MRI",
    "CR": "X-Ray",
    "DX": "X-Ray",
    "US": "Ultrasound",
    "ES": "Endoscopy",
    "OP": "Fundus",
    "OPT": "OCT",
    "SM": "Pathology",
    "GM": "Pathology",
    "DMS": "Dermoscopy",
}
"""DICOM modality to how the names of the authors' modalities begin."""


def find_distributions(known: Distributions, target: str, modality: str | None) -> list[Sequence[Sequence[float]]]:
    """Those that ``target`` may have; of "polyp in colon endoscopy" what stands before " in " names it.

    Args:
        known: The content of ``target_dist.json``.
        target: As asked.
        modality: A DICOM code; None, or one that is not known, rules nothing out.
    """
    name = target.casefold().split(" in ")[0].strip()
    prefix = _PREFIXES.get(modality or "", "")
    return [
        parameters
        for where, targets in known.items()
        for called, parameters in targets.items()
        if where.startswith(prefix) and called.casefold() == name
    ]


def compute_p_value(
    picture_H_W_3: np.ndarray, probability_H_W: np.ndarray, parameters: Sequence[Sequence[float]]
) -> float:
    """The authors' corrected p-value, 0..1; 0 where nothing was outlined.

    Grey values run to 255 and are divided by 256, as the parameters were fitted.
    """
    grey = np.asarray(probability_H_W, np.float64) * 255
    inside = grey >= _GREY_HALF
    if not inside.any():
        return 0.0
    seen = [grey[inside].mean(), *np.asarray(picture_H_W_3, np.float64)[inside].mean(axis=0)]
    product = 1.0
    for value, (a, b) in zip(seen, parameters):
        below = float(betainc(a, b, value / _GREYS))
        product *= 2 * min(below, 1 - below)
    return float(product**_CORRECTION)


def compute_presence(
    picture_H_W_3: np.ndarray, probability_H_W: np.ndarray, distributions: Sequence[Sequence[Sequence[float]]]
) -> float | None:
    """0..1, or None where the authors give no distribution and something was outlined."""
    if not (np.asarray(probability_H_W) * 255 >= _GREY_HALF).any():
        return 0.0
    if not distributions:
        return None
    best = max(compute_p_value(picture_H_W_3, probability_H_W, parameters) for parameters in distributions)
    return best / (best + _THRESHOLD)
