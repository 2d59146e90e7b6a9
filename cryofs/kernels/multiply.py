"""Multiply counts with a gain in one pass by compiled code.

NumPy needs two passes, and a mount computes values twice for each read.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled_for

_INTEGERS = (types.uint8, types.int8, types.uint16, types.int16)
_VALUES = (types.uint16, types.int16)


def _flat(dtype: Any, *, readonly: bool = True) -> types.Array:
    return types.Array(dtype, 1, "C", readonly=readonly)


_SIGNATURES = [
    types.void(_flat(integer), _flat(types.float32), types.int64, types.int64, _flat(types.float32, readonly=False))
    for integer in _INTEGERS
]


@compiled_for(*_SIGNATURES)
def _multiply(counts, gain, nx, first, values):  # type: ignore[no-untyped-def]
    """Compute `values` from the flat index `first` on; `counts` and `gain` have the same rows in opposite order."""
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
    """Compute `values` with compiled code; return False if the code does not support the arrays.

    Parameters
    ----------
    counts : ndarray of integers, shape (rows, nx)
        Counts in the order of page rows.
    gain : ndarray, shape (rows, nx)
        Gain of the same rows in the order of frame rows.
    first : int
        Flat index of the first value in the frame rows.
    """
    arrays = counts, gain, values
    if counts.dtype.kind not in "ui" or not all(each.flags.c_contiguous and each.flags.aligned for each in arrays):
        return False
    _multiply(counts.reshape(-1), gain.reshape(-1), counts.shape[1], first, values)
    return True


# the types of counts that cryofs writes; others take the way of NumPy
_ROUNDED_SIGNATURES = [
    types.void(
        _flat(counts),
        _flat(types.float32),
        types.int64,
        _flat(types.float32),
        _flat(value, readonly=False),
    )
    for counts in (types.uint8, types.uint16)
    for value in _VALUES
]


@compiled_for(*_ROUNDED_SIGNATURES)
def _multiply_rounded(counts, gain, nx, numbers, values):  # type: ignore[no-untyped-def]
    scale, first, second, top = numbers
    zero = np.float32(0)
    rows = len(counts) // nx
    for row in range(rows):
        stored = counts[(rows - 1 - row) * nx :][:nx]
        factors, part = gain[row * nx :][:nx], values[row * nx :][:nx]
        for x in range(nx):
            product = np.float32(stored[x]) * (factors[x] * scale)
            # this order of comparisons turns NaN into 0
            product = product if product > zero else zero
            product = product if product < top else top
            part[x] = np.int32((product + first) - second)


def multiply_rounded(
    counts: NDArray[Any], gain: NDArray[np.float32], numbers: NDArray[np.float32], values: NDArray[Any]
) -> bool:
    """Compute integer values by compiled code; return False if the code does not support the arrays.

    Parameters
    ----------
    counts : ndarray of integers, shape (rows, nx)
        Counts in the order of page rows.
    gain : ndarray, shape (rows, nx)
        Gain of the same rows in the order of frame rows.
    numbers : ndarray
        Result of `GainReference.integer_numbers`.
    values : ndarray of int16 or uint16, shape (rows, nx)
        Receives the values.
    """
    arrays = counts, gain, values
    if counts.dtype.char not in "BH" or not all(each.flags.c_contiguous and each.flags.aligned for each in arrays):
        return False
    _multiply_rounded(counts.reshape(-1), gain.reshape(-1), counts.shape[1], numbers, values.reshape(-1))
    return True
