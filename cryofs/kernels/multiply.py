"""Counts times gain in one pass, by compiled code: NumPy needs two, and a mount makes values twice for each read."""

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

_INTEGERS = (types.uint8, types.int8, types.uint16, types.int16)


def _flat(dtype: Any, *, readonly: bool = True) -> types.Array:
    return types.Array(dtype, 1, "C", readonly=readonly)


_SIGNATURES = [
    types.void(_flat(integer), _flat(types.float32), types.int64, types.int64, _flat(types.float32, readonly=False))
    for integer in _INTEGERS
]


@njit(_SIGNATURES, nogil=True, cache=True, error_model="numpy")
def _multiply(counts, gain, nx, first, values):  # type: ignore[no-untyped-def]
    """Fill `values` from the value `first` on; `counts` and `gain` hold the same rows, `counts` the last row first."""
    rows = len(counts) // nx
    done = np.int64(0)
    while done < len(values):
        row, column = divmod(first + done, nx)
        count = min(nx - column, len(values) - done)
        stored = counts[(rows - 1 - row) * nx + column :][:count]
        factors, part = gain[row * nx + column :][:count], values[done:][:count]
        for index in range(count):
            part[index] = np.float32(stored[index]) * factors[index]
        done += count


def multiply(counts: NDArray[Any], gain: NDArray[np.float32], first: int, values: NDArray[np.float32]) -> bool:
    """Fill `values` if compiled code can; return whether it has.

    Parameters
    ----------
    counts : ndarray of integers, shape (rows, nx)
        In the order of the page.
    gain : ndarray, shape (rows, nx)
        Of the same rows, in the order of the frame.
    first : int
        Flat index of the first value in the rows of the frame.
    """
    arrays = counts, gain, values
    if counts.dtype.kind not in "ui" or not all(each.flags.c_contiguous and each.flags.aligned for each in arrays):
        return False
    _multiply(counts.reshape(-1), gain.reshape(-1), counts.shape[1], first, values)
    return True
