"""Gain references of EER movies: brought to the grid of the rendered image, and to the convention of MRC movies.

As RELION does it (EERRenderer::loadEERGain): a coarser reference is repeated, a finer one is summed up pixel by pixel,
and one that is to be divided by becomes mean / value after that. A gain of zero marks a defect and stays zero.
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


def to_multiply(gain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gain to be multiplied with, from one to be divided by: mean / value, 0 where it is 0."""
    inverse = np.zeros_like(gain)
    np.divide(np.float32(gain.mean(dtype=np.float64)), gain, out=inverse, where=gain != 0)
    return inverse
