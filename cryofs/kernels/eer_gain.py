"""Convert gain references of EER movies to the grid of the rendered image and to the convention of MRC movies.

The rules are those of RELION (EERRenderer::loadEERGain): pixels of a coarser reference are repeated, pixels of a finer
reference are summed, and then a reference to divide by becomes mean / value. A gain of zero marks a defect and stays
zero.

RELION has no rule for invalid gain values; this module treats them as defects. Until the gain is resampled, invalid
values are NaN, so that every sum with an invalid value is a defect as well; then NaN becomes zero.
"""

import numpy as np
from numpy.typing import NDArray


def resample(gain: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the gain on another grid (float32), with pixels repeated or summed.

    Parameters
    ----------
    gain : ndarray of float32, shape (ny, nx)
    shape : tuple
        Rows and columns of the result: those of `gain` times 1, 2, 4, 1/2 or 1/4.

    Raises
    ------
    ValueError
        The ratio of `shape` to the shape of `gain` is not supported.
    """
    (ny, nx), (rows, columns) = gain.shape, shape
    check_ratio((ny, nx), shape)
    if rows >= ny:
        factor = rows // ny
        return gain if factor == 1 else np.repeat(np.repeat(gain, factor, axis=0), factor, axis=1)
    factor = ny // rows
    summed: NDArray[np.float32] = gain.reshape(rows, factor, columns, factor).sum(axis=(1, 3), dtype=np.float32)
    return summed


def check_ratio(stored: tuple[int, ...], shape: tuple[int, int]) -> None:
    """Raise ValueError if a gain of one shape cannot be resampled to another; see `resample`."""
    (ny, nx), (rows, columns) = stored, shape
    for factor in (1, 2, 4):
        if (rows, columns) == (factor * ny, factor * nx) or (factor * rows, factor * columns) == (ny, nx):
            return
    raise ValueError(f"size mismatch of the gain reference (expected {rows} x {columns}, got {ny} x {nx})")


def mark_defects(gain: NDArray[np.float32], *, divided: bool) -> NDArray[np.float32]:
    """Return the gain (float32, same shape) with invalid values (infinite or negative) replaced by NaN.

    Parameters
    ----------
    divided : bool
        Whether counts are divided by the gain. If so, values for which mean / value is infinite are also invalid.
    """
    valid = np.isfinite(gain) & (gain >= 0)
    if divided and valid.any():
        smallest = gain.mean(dtype=np.float64, where=valid) / np.finfo(np.float32).max
        valid &= (gain == 0) | (gain > smallest)
    return np.where(valid, gain, np.float32(np.nan))


def to_multiply(gain: NDArray[np.float32], *, divided: bool) -> NDArray[np.float32]:
    """Return the gain (float32, same shape) as a reference to multiply with, 0 where `gain` is 0 or NaN.

    Parameters
    ----------
    divided : bool
        Whether counts are divided by `gain`; the result is then mean / value. As in RELION, defects count as zeros in
        the mean.
    """
    gain = np.nan_to_num(gain, nan=0, posinf=0)
    if not divided:
        return gain
    inverse = np.zeros_like(gain)
    np.divide(np.float32(gain.mean(dtype=np.float64)), gain, out=inverse, where=gain != 0)
    return inverse
