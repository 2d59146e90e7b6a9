"""Counts back to values: the inverse of `cryofs.detector.counts`. Page rows become frame rows, in reverse order.

Plain NumPy: it is as fast here as compiled loops, and a mount need not load a compiler.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def multiply(stored: NDArray[Any], gain: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Fill `values` (frame rows) with the product of page rows and gain; exceptions are to be put back after."""
    values[...] = stored[::-1]
    # references may hold anything, NaN and infinities too
    with np.errstate(all="ignore"):
        np.multiply(values, gain, out=values)


def widen(stored: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Frame rows of the original type from page rows; exceptions are to be put back after."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.ascontiguousarray(stored[::-1].astype(dtype))


def put_back(values: NDArray[Any], positions: NDArray[np.int64], originals: NDArray[Any]) -> None:
    """Write exceptions into a frame; positions beyond it raise IndexError."""
    values.reshape(-1).view(originals.dtype)[positions] = originals
