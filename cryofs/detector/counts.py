"""Values to counts, exact to the last bit; `cryofs.detector.values` is the way back.

A value belongs to the counts only where restoring it gives back its very bits; every other value (a defect, NaN, an
infinity, -0.0, a negative, anything under a wrong gain) is an exception, kept as its bits. So a wrong gain costs size
and never a pixel. Frame rows become page rows here, in reverse order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryofs.detector.values import widen

COUNT_DTYPES = (np.dtype("u1"), np.dtype("i1"), np.dtype("u2"), np.dtype("i2"))
MAX_COUNT = 65535
_MAX_COUNT_F4 = np.float32(MAX_COUNT)
_ZERO_F4 = np.float32(0)
# Adding and subtracting 1.5 * 2**23 rounds a float32 below 2**22 to the nearest integer, ties to even; unlike rint it
# becomes vector instructions.
_ROUND_F4 = np.float32(12582912.0)


@dataclass(frozen=True)
class Counts:
    """Whole rows of a frame as they are stored, and what they cannot hold.

    Attributes
    ----------
    stored : ndarray, shape (rows, nx)
        Page rows (reversed frame rows). At exceptions the rounded value, within the limits of the type.
    positions : ndarray of int64
        Ascending indices of the exceptions into the flattened frame rows.
    originals : ndarray of unsigned integers
        Bits of the original values there.
    lowest, highest : int
        Range of all true counts, including those that the stored type is too narrow for; exceptions may widen it, up to
        the limits of the stored type.
    """

    stored: NDArray[Any]
    positions: NDArray[np.int64]
    originals: NDArray[Any]
    lowest: int
    highest: int


def narrowest_dtype(lowest: int, highest: int) -> np.dtype[Any]:
    """Narrowest type that holds all counts of a range; negatives beyond what fits become exceptions."""
    for dtype in COUNT_DTYPES:
        limits = np.iinfo(dtype)
        if limits.min <= lowest and highest <= limits.max:
            return dtype
    return np.dtype("u2")


def divide(values: NDArray[np.float32], gain: NDArray[np.float32], dtype: np.dtype[Any]) -> Counts:
    """Counts of gain-normalised rows.

    Parameters
    ----------
    values, gain : ndarray of float32, shape (rows, nx)
        Both C-contiguous, in frame order.
    dtype : unsigned integer type
        What the counts are stored as.
    """
    stored = np.empty(values.shape, dtype)
    wrong = np.empty(len(values), np.int64)
    highest = int(_divide(values, gain, stored, np.iinfo(dtype).max, wrong))
    positions = np.empty(wrong.sum(), np.int64)
    originals = np.empty(len(positions), np.uint32)
    if len(positions):
        highest = max(highest, int(_collect(values, gain, stored, wrong, positions, originals)))
    return Counts(stored, positions, originals, 0, highest)


@njit(nogil=True, cache=True, error_model="numpy")
def _divide(values, gain, stored, limit, wrong):  # type: ignore[no-untyped-def]
    """Fill `stored`, and `wrong` with the number of exceptions in each row; return the highest count."""
    rows, nx = values.shape
    bits = values.view(np.uint32)
    product = np.empty(nx, np.float32)
    product_bits = product.view(np.uint32)
    top = np.float32(limit)
    highest = np.int32(0)
    for row in range(rows):
        page_row = stored[rows - 1 - row]
        for x in range(nx):
            quotient = values[row, x] / gain[row, x]
            # in this order a NaN becomes 0
            quotient = quotient if quotient > _ZERO_F4 else _ZERO_F4
            quotient = quotient if quotient < top else top
            count = (quotient + _ROUND_F4) - _ROUND_F4
            product[x] = count * gain[row, x]
            whole = np.int32(count)
            page_row[x] = whole
            # an integer maximum: LLVM makes no vectors of a float one, for the sake of NaN
            highest = max(highest, whole)
        different = 0
        for x in range(nx):
            # machines differ in the sign of a NaN that they compute, so none is left to a product
            different += (product_bits[x] != bits[row, x]) | (product[x] != product[x])
        wrong[row] = different
    return highest


@njit(nogil=True, cache=True, error_model="numpy")
def _collect(values, gain, stored, wrong, positions, originals):  # type: ignore[no-untyped-def]
    """List the exceptions; return the highest true count among them, which only the stored type was too narrow for."""
    rows, nx = values.shape
    bits = values.view(np.uint32)
    product = np.empty(1, np.float32)
    product_bits = product.view(np.uint32)
    highest = 0
    found = 0
    for row in range(rows):
        if wrong[row] == 0:
            continue
        for x in range(nx):
            product[0] = np.float32(stored[rows - 1 - row, x]) * gain[row, x]
            if product_bits[0] == bits[row, x] and product[0] == product[0]:
                continue
            positions[found] = row * nx + x
            originals[found] = bits[row, x]
            found += 1
            quotient = values[row, x] / gain[row, x]
            if quotient > _ZERO_F4 and quotient <= _MAX_COUNT_F4:
                count = (quotient + _ROUND_F4) - _ROUND_F4
                product[0] = count * gain[row, x]
                if product_bits[0] == bits[row, x] and count > highest:
                    highest = int(count)
    return highest


def narrow(values: NDArray[Any], dtype: np.dtype[Any], columns: int | None = None) -> Counts:
    """Rows without a gain, in another type: the values are the counts, or stay as they are in a float type.

    Parameters
    ----------
    values : ndarray, shape (rows, n)
        Integers or floats, in frame order.
    columns : int or None
        How many of the n columns are stored; what is not 0 in the others (padding of 4-bit rows) is an exception.
    """
    columns = values.shape[1] if columns is None else columns
    restored = np.zeros_like(values, order="C")
    with np.errstate(invalid="ignore", over="ignore"):
        stored = _rounded(values[::-1, :columns], dtype)
        restored[:, :columns] = widen(stored, values.dtype)
    bits = np.dtype(f"u{values.itemsize}")
    positions = np.flatnonzero(restored.view(bits) != np.ascontiguousarray(values).view(bits))
    exceptions = values.reshape(-1)[positions]
    lowest, highest = 0, 0
    if dtype.kind in "ui":
        fitting = stored if not len(positions) else np.delete(restored.reshape(-1), positions)
        for part in (fitting, _integers(exceptions)):
            if part.size:
                lowest, highest = min(lowest, int(part.min())), max(highest, int(part.max()))
    return Counts(np.ascontiguousarray(stored), positions, exceptions.view(bits), lowest, highest)


def _rounded(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values.astype(np.float32), nan=0.0))
        lowest, highest = float(limits.min), float(limits.max)
    else:
        own = np.iinfo(values.dtype)
        lowest, highest = max(limits.min, own.min), min(limits.max, own.max)
    clipped: NDArray[Any] = np.clip(values, lowest, highest)
    return clipped.astype(dtype)


def _integers(values: NDArray[Any]) -> NDArray[Any]:
    """Those exceptions that a wider count type would hold."""
    if values.dtype.kind != "f":
        return values
    with np.errstate(invalid="ignore"):
        values = values.astype(np.float32)
        # -0.0 and NaN have no place in any integer type
        whole: NDArray[Any] = values[(values != 0) & (np.abs(values) <= MAX_COUNT) & (values == np.rint(values))]
    return whole
