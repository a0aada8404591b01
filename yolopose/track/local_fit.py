"""A smoothing filter without lag: parabolas fitted to the neighbours before and after, as many as the motion allows.

Source: local polynomial fits as by Savitzky and Golay (Analytical Chemistry 36, 1964), with the number of neighbours
chosen for every moment as by Lepski (1991) and Goldenshluger and Nemirovski (1997): the widest window whose estimate
agrees with those of all narrower ones within their noise. A point at rest is averaged over many frames; one that
starts, stops or turns over few, so that nothing is rounded off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACHES = (2, 4, 8)  # frames on either side of the windows, beside the measurement itself
AGREE = 1.6  # deviations by which the estimate of a wider window may differ from that of a narrower one
UNKNOWN = 1e9  # deviation of an estimate that cannot be made


def adaptive_fit(points: Array, weight: Array) -> Array:
    """Smooth (T, K, 2) with weights (T, K); a weight is the inverse of the noise's variance in any unit, 0 for missing.

    Frames are equally spaced. Where too little is measured the points are returned as they are.
    """
    noise = noise_of(points, weight)
    fits, deviations = [points], [_deviation_of_one(weight)]
    level = np.zeros(weight.shape)
    agrees = weight > 0
    for i, reach in enumerate(REACHES, 1):
        fit, deviation = parabolas(points, weight, reach)
        for narrower, narrow_deviation in zip(fits, deviations, strict=True):
            far = np.linalg.norm(fit - narrower, axis=-1)
            agrees = agrees & (far <= AGREE * np.sqrt(2) * noise * narrow_deviation)
        agrees &= deviation < deviations[-1]
        level[agrees] = i
        fits.append(fit)
        deviations.append(deviation)
    level = np.where(weight > 0, _mean_of_three(level, weight > 0), 0.0)
    return _between(level, fits)


def noise_of(points: Array, weight: Array) -> Array:
    """(T, K, 2), (T, K) → (K,) the deviation of a coordinate's noise at weight 1, in pixels.

    The lower quartile of the third differences, which smooth motion hardly enters: of normal noise it is 0.3186
    deviations, and a third difference has the variance 1 + 9 + 9 + 1 = 20.
    """
    if len(points) < 4:
        return np.zeros(points.shape[1])
    third = np.abs(np.diff(points, 3, axis=0))
    steps = [weight[i : len(weight) - 3 + i] for i in range(4)]
    there = np.min(steps, axis=0) > 0
    variance = sum(c / np.maximum(w, 1e-12) for c, w in zip((1, 9, 9, 1), steps, strict=True))
    ratio = np.where(there[..., None], third / np.sqrt(np.asarray(variance))[..., None], np.nan)
    flat = np.moveaxis(ratio, 1, 0).reshape(points.shape[1], -1)
    enough = (~np.isnan(flat)).sum(1) >= 8
    result = np.zeros(points.shape[1])
    if enough.any():
        result[enough] = np.nanquantile(flat[enough], 0.25, axis=1) / 0.3186
    return result


def parabolas(points: Array, weight: Array, reach: int) -> tuple[Array, Array]:
    """The weighted least-squares parabola around every frame: (T, K, 2), (T, K) → (T, K, 2) and a deviation (T, K).

    The window has `reach` frames on either side, fewer at the ends. The deviation is that of the estimate for noise of
    deviation 1 at weight 1; `UNKNOWN` where fewer than four frames are measured.
    """
    count, k = weight.shape
    normal = np.zeros((count, k, 3, 3))
    right = np.zeros((count, k, 3, 2))
    measured = np.zeros((count, k))
    reach = min(reach, count - 1)
    for u in range(-reach, reach + 1):
        to = slice(max(0, -u), min(count, count - u))
        source = slice(max(0, u), min(count, count + u))
        powers = float(u) ** np.arange(3)
        w = weight[source]
        normal[to] += w[..., None, None] * np.outer(powers, powers)
        right[to] += w[..., None, None] * powers[:, None] * points[source][:, :, None]
        measured[to] += w > 0
    solvable = measured >= 4
    normal[~solvable] = np.eye(3)
    right[~solvable] = 0.0
    right[~solvable, 0] = points[~solvable]
    inverse = np.linalg.inv(normal)
    middle = (inverse[..., 0, :, None] * right).sum(-2)  # the parabola at u = 0
    deviation = np.where(solvable, np.sqrt(np.maximum(inverse[..., 0, 0], 0.0)), UNKNOWN)
    return np.asarray(middle), deviation


def _deviation_of_one(weight: Array) -> Array:
    """The deviation of a single measurement."""
    return np.asarray(np.where(weight > 0, 1 / np.sqrt(np.where(weight > 0, weight, 1.0)), UNKNOWN))


def _mean_of_three(level: Array, there: NDArray[np.bool_]) -> Array:
    """The mean level of three successive frames, so that the windows do not change abruptly."""
    padded, mask = np.pad(level * there, ((1, 1), (0, 0))), np.pad(there, ((1, 1), (0, 0)))
    total = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(total / np.maximum(mask[:-2].astype(int) + mask[1:-1] + mask[2:], 1))


def _between(level: Array, values: list[Array]) -> Array:
    """Linear interpolation between the values (T, K, 2) of the two levels next to (T, K) `level`."""
    stack = np.stack(values)
    low = np.minimum(level.astype(int), len(values) - 2)
    share = (level - low)[..., None]
    frame, point = np.indices(level.shape)
    return np.asarray(stack[low, frame, point] * (1 - share) + stack[low + 1, frame, point] * share)
