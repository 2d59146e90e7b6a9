"""Gain references of EER movies: brought to the grid of the rendered image, and to the convention of MRC movies.

As RELION does it (EERRenderer::loadEERGain): a coarser reference is repeated, a finer one is summed up pixel by pixel,
and one that is to be divided by becomes mean / value after that. A gain of zero marks a defect and stays zero.

RELION has no rule for values that cannot be a gain; here they are defects too. They are NaN until the gain is on its
grid, so that a sum with such a value is a defect, and then become zero.
"""

import numpy as np
from numpy.typing import NDArray


def resample(gain: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Gain on another grid.

    Parameters
    ----------
    gain : ndarray of float32, shape (ny, nx)
    shape : tuple
        Rows and columns wanted: those of `gain`, or 2 or 4 times or a half or a quarter of them.

    Raises
    ------
    ValueError
        Any other shape.
    """
    (ny, nx), (rows, columns) = gain.shape, shape
    for factor in (1, 2, 4):
        if (rows, columns) == (factor * ny, factor * nx):
            return gain if factor == 1 else np.repeat(np.repeat(gain, factor, axis=0), factor, axis=1)
        if (factor * rows, factor * columns) == (ny, nx):
            summed: NDArray[np.float32] = gain.reshape(rows, factor, columns, factor).sum(axis=(1, 3), dtype=np.float32)
            return summed
    raise ValueError(f"a gain reference of {ny} x {nx} does not serve an image of {rows} x {columns}")


def without_defects(gain: NDArray[np.float32], *, divided: bool) -> NDArray[np.float32]:
    """Return a gain whose values that cannot be one are NaN: infinities, and negative values.

    Parameters
    ----------
    divided : bool
        Whether counts are to be divided by the gain; values so small that mean / value is infinite are then NaN too.
    """
    valid = np.isfinite(gain) & (gain >= 0)
    if divided and valid.any():
        smallest = gain.mean(dtype=np.float64, where=valid) / np.finfo(np.float32).max
        valid &= (gain == 0) | (gain > smallest)
    return np.where(valid, gain, np.float32(np.nan))


def to_multiply(gain: NDArray[np.float32], *, divided: bool) -> NDArray[np.float32]:
    """Return the gain to be multiplied with, 0 where it is 0 or NaN.

    Parameters
    ----------
    divided : bool
        Whether counts are to be divided by `gain`; it then becomes mean / value. As in RELION, defects are part of the
        mean as zeros.
    """
    gain = np.nan_to_num(gain, nan=0, posinf=0)
    if not divided:
        return gain
    inverse = np.zeros_like(gain)
    np.divide(np.float32(gain.mean(dtype=np.float64)), gain, out=inverse, where=gain != 0)
    return inverse
