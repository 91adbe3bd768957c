"""Stored voxels of any number type as the uint8 or uint16 that every root picture has, with one scale for all.

Whole numbers whose range fits 16 bits are kept exactly, others are told in 65,536 steps over their range; both are
done in the memory of the stored voxels, a stretch at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.sources import ArrayFacts, compute_default_window, compute_histogram

__all__ = ["Coded", "encode_voxels"]

_AT_ONCE = 1 << 18
_MOST_CODE = 65535
_MOST_VALUE, _LEAST_STEP = 1e30, 1e-30
"""Beyond these, single precision (in which pictures are drawn) would overflow or vanish."""


class Coded(NamedTuple):
    """Voxels as codes."""

    codes: NDArray[np.generic]
    """uint8 or uint16, flat; the same memory as the stored voxels."""
    facts: ArrayFacts
    """Scale, default window and notes."""


class _Survey(NamedTuple):
    low: int | float
    high: int | float
    whole: bool
    not_finite: int


def encode_voxels(stored: NDArray[np.generic], slope_intercept: tuple[float, float] = (1.0, 0.0)) -> Coded:
    """Codes for ``stored`` and what they mean.

    Args:
        stored: Flat, contiguous and writable, of any byte order; overwritten. Integers or floats, none of them empty.
        slope_intercept: From a stored value to its unit.

    Raises:
        MediaRejected: ``corrupt`` where no value is finite, ``unsupported`` where they are beyond what can be drawn.
    """
    with np.errstate(all="ignore"):
        survey = _survey_values(stored)
        base, step = _choose_scale(survey)
        slope, intercept = slope_intercept
        scale = (step * slope, base * slope + intercept)
        _check_scale(survey, slope_intercept, scale)
        codes = _write_codes(stored, survey, base, step)
    notes = []
    if survey.not_finite:
        notes.append(f"{survey.not_finite} voxels hold no finite number; they are shown as the least value")
    if survey.high > survey.low and not (survey.whole and step == 1):
        low, high = scale[1], survey.high * slope + intercept
        notes.append(f"values from {low:.6g} to {high:.6g} are told in 65536 steps of {abs(scale[0]):.3g}")
    window = compute_default_window(compute_histogram(codes), scale)
    return Coded(codes, ArrayFacts(slope_intercept=scale, default_window=window, notes=tuple(notes)))


def _stretches(stored: NDArray[np.generic]) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """Copies in the byte order of this machine, one after the other."""
    native = stored.dtype.newbyteorder("=")
    for start in range(0, stored.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        yield part, stored[part].astype(native)


def _survey_values(stored: NDArray[np.generic]) -> _Survey:
    lows, highs, whole, missing = [], [], True, 0
    for _, values in _stretches(stored):
        kept = values
        if stored.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                kept = values[finite]
                missing += values.size - kept.size
            whole = whole and bool((np.rint(kept) == kept).all())
        if kept.size:
            lows.append(kept.min().item())
            highs.append(kept.max().item())
    if not lows:
        raise MediaRejected(MediaCode.CORRUPT, "none of its voxels holds a finite number")
    return _Survey(min(lows), max(highs), whole, missing)


def _choose_scale(survey: _Survey) -> tuple[int | float, int | float]:
    """What code 0 stands for, and how much each further code."""
    low, high = survey.low, survey.high
    if survey.whole and high - low <= _MOST_CODE:
        return (0 if low >= 0 and high <= _MOST_CODE else low), 1
    return (low, (high - low) / _MOST_CODE) if high > low else (low, 1)


def _check_scale(survey: _Survey, slope_intercept: tuple[float, float], scale: tuple[float, float]) -> None:
    slope, intercept = slope_intercept
    ends = (survey.low * slope + intercept, survey.high * slope + intercept, scale[1])
    if not (all(abs(end) <= _MOST_VALUE for end in ends) and _LEAST_STEP <= abs(scale[0]) <= _MOST_VALUE):
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            f"its values go from {ends[0]:.3g} to {ends[1]:.3g}; accepted are values up to {_MOST_VALUE:g}, and steps "
            f"of at least {_LEAST_STEP:g}",
        )


def _write_codes(
    stored: NDArray[np.generic], survey: _Survey, base: int | float, step: int | float
) -> NDArray[np.generic]:
    codes = stored.view(np.uint8 if stored.dtype.itemsize == 1 else np.uint16)[: stored.size]
    if stored.dtype.itemsize <= 2 and base == 0 and stored.dtype.isnative:
        return codes
    # a code is no longer than the value that it stands for, so nothing is overwritten before it was copied
    for part, values in _stretches(stored):
        if survey.not_finite:
            values[~np.isfinite(values)] = survey.low
        if step == 1 and values.dtype.kind != "f":
            codes[part] = np.subtract(values, values.dtype.type(base))  # modulo 2^16, as the codes
        else:
            codes[part] = np.rint((values.astype(np.float64) - base) / step)
    return codes
