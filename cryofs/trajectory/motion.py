"""Compute shifts, motion models and hot pixels after a change of grouping or upsampling.

The time of a fraction is the middle of its frames. With `scale` = new grouping / old grouping, the time of fraction i
of the new grouping is (i + 0.5) * scale - 0.5 on the axis of the old fractions; both are numbered from 0.
"""

import numpy as np
from numpy.typing import NDArray

# RELION's value for the unknown shift of a fraction that motion correction did not read
NOT_OBSERVED = -9999.0
# terms t, t^2 and t^3 for each of the spatial terms 1, x, x^2, y, y^2 and xy, for both axes
MODEL_COEFFICIENTS = 36
_TOLERANCE = 1e-9


def regrouped_count(count: int, scale: float) -> int:
    """Return the number of whole fractions of the new grouping in `count` fractions of the old one."""
    return int(count / scale + _TOLERANCE)


def regrouped_shifts(shifts: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return the shifts of all fractions of the new grouping.

    Parameters
    ----------
    shifts : ndarray, shape (fractions, 2)
        Shifts in pixels; `NOT_OBSERVED` for an unknown shift.
    scale : float
        New grouping / old grouping.

    Returns
    -------
    ndarray, shape (new fractions, 2)
        Shifts by linear interpolation between the middles of the old fractions, and linear extrapolation at both ends;
        `NOT_OBSERVED` if frames of the new fraction belong to an old fraction without shift.
    """
    count = regrouped_count(len(shifts), scale)
    regrouped = np.full((count, 2), NOT_OBSERVED)
    known = np.flatnonzero((shifts != NOT_OBSERVED).all(axis=1))
    if not len(known):
        return regrouped
    numbers = np.arange(count)
    observed = (numbers * scale >= known[0] - _TOLERANCE) & ((numbers + 1) * scale <= known[-1] + 1 + _TOLERANCE)
    times = (numbers[observed] + 0.5) * scale - 0.5
    for axis in range(2):
        regrouped[observed, axis] = _interpolated(times, known.astype(np.float64), shifts[known, axis])
    return regrouped


def _interpolated(
    times: NDArray[np.float64], known: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return linearly interpolated values at `times`; extend the outer segments beyond both ends."""
    result = np.interp(times, known, values)
    if len(known) > 1:
        for outside, (near, far) in ((times < known[0], (0, 1)), (times > known[-1], (-1, -2))):
            slope = (values[far] - values[near]) / (known[far] - known[near])
            result[outside] = values[near] + slope * (times[outside] - known[near])
    return result


def regrouped_model(coefficients: NDArray[np.float64], scale: float, offset: float) -> NDArray[np.float64]:
    """Return the coefficients of a local motion model on another time axis, shape (36,).

    RELION's third-order polynomial (version 1) has no constant term, because local motion is relative to the first
    fraction. Therefore the motion at the new first fraction is subtracted.

    Parameters
    ----------
    coefficients : ndarray, shape (36,)
        Triples of coefficients for t, t^2 and t^3, with t in old fractions.
    scale, offset : float
        Old time = scale * new time + offset.
    """
    first, second, third = coefficients.reshape(-1, 3).T
    return np.stack(
        (
            scale * (first + 2 * offset * second + 3 * offset**2 * third),
            scale**2 * (second + 3 * offset * third),
            scale**3 * third,
        ),
        axis=1,
    ).reshape(-1)


def resampled_pixels(pixels: NDArray[np.int64], old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return hot pixels on the grid of another upsampling.

    Parameters
    ----------
    pixels : ndarray, shape (n, 2)
        Columns and rows of hot pixels.
    old, new : int
        Image pixels per detector pixel and axis.

    Returns
    -------
    pixels : ndarray, shape (m, 2)
        Hot pixels of the new grid: on a finer grid, a block for each old pixel; on a coarser grid, a pixel for each
        block.
    origins : ndarray, shape (m,)
        Index of an old pixel for each new pixel.
    """
    if new >= old:
        ratio = new // old
        inside = np.stack(np.meshgrid(range(ratio), range(ratio)), axis=-1).reshape(-1, 2)
        blocks = pixels[:, None] * ratio + inside
        return blocks.reshape(-1, 2), np.repeat(np.arange(len(pixels)), ratio**2)
    merged, origins = np.unique(pixels // (old // new), axis=0, return_index=True)
    order = np.argsort(origins, kind="stable")
    return merged[order], origins[order]
