"""Values to counts, exact to the last bit; `cryofs.kernels.from_counts` is the way back.

A value belongs to the counts only where restoring it gives back its very bits; every other value (a defect, NaN, an
infinity, -0.0, a negative, a count beyond the stored type, anything under a wrong gain) is an exception, kept as its
bits. So a wrong gain costs size and never a pixel. Frame rows become page rows here, in reverse order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryofs.kernels.from_counts import Arithmetic, ExceptionValues, GainReference, array_in, widen

COUNT_DTYPES = (np.dtype("u1"), np.dtype("i1"), np.dtype("u2"), np.dtype("i2"))
MAX_COUNT = 65535
_MAX_COUNT_F4 = np.float32(MAX_COUNT)
_ZERO_F4 = np.float32(0)
# Adding 1.5 * 2**23 to a float32 below 2**22 rounds it to the nearest integer, ties to even, which then stands in the
# low bits of the sum; unlike rint this becomes vector instructions.
_SHIFT_F4 = np.float32(12582912.0)
_SHIFT_BITS = 0x4B400000
# Farthest that a near exception may miss the restored value, in steps of the last bit: what an int8 holds.
_NEAR = 127
_ARITHMETICS = list(Arithmetic)
# Values that are converted at a time: they and what is computed of them stay in the processor's first cache. So many
# exceptions there is room for at first; then the room doubles, by at least as much as the next piece may need.
_PIECE = 512
_DOUBLE, _RECIPROCAL = _ARITHMETICS.index(Arithmetic.DOUBLE), _ARITHMETICS.index(Arithmetic.RECIPROCAL)


@dataclass(frozen=True)
class Counts:
    """Whole rows of a frame as they are stored, and what they cannot hold.

    Attributes
    ----------
    stored : ndarray, shape (rows, nx)
        Page rows (reversed frame rows). At exceptions the rounded value, within the limits of the type.
    exceptions : ExceptionValues
        In the flattened frame rows.
    beyond : int
        How many exceptions are true counts that only the stored type is too narrow for.
    lowest, highest : int
        Range of all true counts, including those that the stored type is too narrow for; exceptions may widen it, up to
        the limits of the stored type.
    """

    stored: NDArray[Any]
    exceptions: ExceptionValues
    beyond: int
    lowest: int
    highest: int


def narrowest_dtype(lowest: int, highest: int) -> np.dtype[Any]:
    """Narrowest type that holds all counts of a range; negatives beyond what fits become exceptions."""
    for dtype in COUNT_DTYPES:
        limits = np.iinfo(dtype)
        if limits.min <= lowest and highest <= limits.max:
            return dtype
    return np.dtype("u2")


def divide(
    values: NDArray[np.float32],
    reference: GainReference,
    rows: slice,
    dtype: np.dtype[Any],
    memory: NDArray[np.uint8] | None = None,
) -> Counts:
    """Counts of gain-normalised rows.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, nx)
        C-contiguous, in frame order.
    rows : slice
        Which rows of the frame they are.
    dtype : unsigned integer type
        What the counts are stored as.
    memory : ndarray of uint8 or None
        What takes them, if not new memory.
    """
    gain = reference.gain[rows]
    detail = gain if reference.detail is None else reference.detail[rows]
    arithmetic = _ARITHMETICS.index(reference.arithmetic)
    if values.shape != gain.shape:
        raise ValueError(f"values of shape {values.shape} with a gain of shape {gain.shape}")
    stored = array_in(memory, values.shape, dtype)
    limit = np.iinfo(dtype).max
    highest, beyond, positions, originals, steps = _divide(values, gain, detail, arithmetic, stored, limit)
    near = np.abs(steps) <= _NEAR
    exceptions = ExceptionValues(positions[~near], originals[~near], positions[near], steps[near].astype(np.int8))
    return Counts(stored, exceptions, int(beyond), 0, int(highest))


@njit(nogil=True, cache=True, error_model="numpy")
def _divide(values, gain, detail, arithmetic, stored, limit):  # type: ignore[no-untyped-def]
    """Fill `stored`; return the highest true count, and of exceptions how many are counts, positions, bits, and steps.

    Many short loops over a piece of a row, each of which becomes vector instructions; together they would not.
    """
    rows, nx = values.shape
    bits = values.view(np.uint32)
    shifted = np.empty(_PIECE, np.float32)
    shifted_bits = shifted.view(np.uint32)
    restored = np.empty(_PIECE, np.float32)
    restored_bits = restored.view(np.uint32)
    positions, originals, steps = np.empty(_PIECE, np.int64), np.empty(_PIECE, np.uint32), np.empty(_PIECE, np.int64)
    found = np.int64(0)
    top = np.float32(limit)
    highest = np.uint32(_SHIFT_BITS)
    highest_exception = beyond = 0
    for row in range(rows):
        for first in range(0, nx, _PIECE):
            size = min(_PIECE, nx - first)
            piece, piece_bits = values[row, first : first + size], bits[row, first : first + size]
            piece_gain, piece_detail = gain[row, first : first + size], detail[row, first : first + size]
            for x in range(size):
                quotient = piece[x] / piece_gain[x]
                # in this order a NaN becomes 0
                quotient = quotient if quotient > _ZERO_F4 else _ZERO_F4
                quotient = quotient if quotient < top else top
                shifted[x] = quotient + _SHIFT_F4
            _restore(shifted[:size], piece_gain, piece_detail, arithmetic, restored)
            different = np.int32(0)
            for x in range(size):
                # machines differ in the sign of a NaN that they compute, so none is left to a product
                different += np.int32((restored_bits[x] != piece_bits[x]) | (restored[x] != restored[x]))
            page = stored[rows - 1 - row, first : first + size]
            for x in range(size):
                page[x] = shifted_bits[x]
            for x in range(size):
                highest = max(highest, shifted_bits[x])
            if different == 0:
                continue
            if found + different > len(positions):
                positions, originals, steps = _doubled(positions), _doubled(originals), _doubled(steps)
            start = row * nx + first
            _collect(piece, restored, start, positions[found:], originals[found:], steps[found:])
            for place in range(found, found + different):
                x = positions[place] - start
                count = _count(piece[x : x + 1], piece_gain[x : x + 1], piece_detail[x : x + 1], arithmetic)
                highest_exception = max(highest_exception, count)
                beyond += count > 0
            found += different
    highest_count = max(np.int64(highest - np.uint32(_SHIFT_BITS)), highest_exception)
    return highest_count, beyond, positions[:found], originals[:found], steps[:found]


@njit(nogil=True, cache=True, error_model="numpy")
def _restore(shifted, gain, detail, arithmetic, restored):  # type: ignore[no-untyped-def]
    """Values of counts, as `GainReference.restore` makes them."""
    if arithmetic == _DOUBLE:
        for x in range(len(shifted)):
            double = np.float64(gain[x]) + np.float64(detail[x])
            restored[x] = np.float32(np.float64(shifted[x] - _SHIFT_F4) * double)
    elif arithmetic == _RECIPROCAL:
        for x in range(len(shifted)):
            restored[x] = (shifted[x] - _SHIFT_F4) / detail[x]
    else:
        for x in range(len(shifted)):
            restored[x] = (shifted[x] - _SHIFT_F4) * gain[x]


@njit(nogil=True, cache=True, error_model="numpy")
def _collect(values, restored, start, positions, originals, steps):  # type: ignore[no-untyped-def]
    """List the values that are not restored; the first has the position `start`."""
    bits, restored_bits = values.view(np.uint32), restored.view(np.uint32)
    found = 0
    for x in range(len(values)):
        restorable = restored[x] == restored[x]
        if restored_bits[x] == bits[x] and restorable:
            continue
        positions[found] = start + x
        originals[found] = bits[x]
        steps[found] = np.int64(bits[x]) - np.int64(restored_bits[x]) if restorable else _NEAR + 1
        found += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _count(value, gain, detail, arithmetic):  # type: ignore[no-untyped-def]
    """The true count of a value for which the stored type is too narrow; 0 where it has none. All have shape (1,)."""
    quotient = value[0] / gain[0]
    if not _ZERO_F4 < quotient <= _MAX_COUNT_F4:
        return 0
    shifted, restored = np.empty(1, np.float32), np.empty(1, np.float32)
    shifted[0] = quotient + _SHIFT_F4
    _restore(shifted, gain, detail, arithmetic, restored)
    return int(shifted[0] - _SHIFT_F4) if restored.view(np.uint32)[0] == value.view(np.uint32)[0] else 0


@njit(nogil=True, cache=True, error_model="numpy")
def _doubled(array):  # type: ignore[no-untyped-def]
    """The array, with room for as much again."""
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


def narrow(
    values: NDArray[Any], dtype: np.dtype[Any], columns: int | None = None, memory: NDArray[np.uint8] | None = None
) -> Counts:
    """Rows without a gain, in another type: the values are the counts, or stay as they are in a float type.

    Parameters
    ----------
    values : ndarray, shape (rows, n)
        Integers or floats, in frame order.
    columns : int or None
        How many of the n columns are stored; what is not 0 in the others (padding of 4-bit rows) is an exception.
    memory : ndarray of uint8 or None
        What takes the counts, if not new memory.
    """
    columns = values.shape[1] if columns is None else columns
    if values.dtype.kind in "ui" and dtype.kind in "ui":
        return _narrow_integers(np.ascontiguousarray(values), dtype, columns, memory)
    restored = np.zeros_like(values, order="C")
    stored = array_in(memory, (len(values), columns), dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        stored[...] = _rounded(values[::-1, :columns], dtype)
        widen(stored, restored[:, :columns])
    bits = np.dtype(f"u{values.itemsize}")
    positions = np.flatnonzero(restored.view(bits) != np.ascontiguousarray(values).view(bits))
    exceptions = values.reshape(-1)[positions]
    beyond, lowest, highest = 0, 0, 0
    if dtype.kind in "ui":
        fitting = stored
        if len(positions):
            fitting = np.delete(restored.reshape(-1), positions)
            # the largest uint16 comes back as a float16 infinity
            fitting = fitting[np.isfinite(fitting)]
        whole = _whole_numbers(exceptions)
        beyond = len(whole)
        for part in (fitting, whole):
            if part.size:
                lowest, highest = min(lowest, int(part.min())), max(highest, int(part.max()))
    return Counts(stored, ExceptionValues.far(positions, exceptions.view(bits)), beyond, lowest, highest)


def _narrow_integers(
    values: NDArray[Any], dtype: np.dtype[Any], columns: int, memory: NDArray[np.uint8] | None
) -> Counts:
    limits, own = np.iinfo(dtype), np.iinfo(values.dtype)
    # negative values are large as unsigned ones, so one look at the values is enough where none is
    highest = int(values.view(f"u{values.itemsize}").max())
    lowest = 0
    if highest > own.max:
        lowest, highest = int(values.min()), int(values.max())
    positions = np.empty(0, np.int64)
    fitting = values
    if lowest < limits.min or limits.max < highest or (columns < values.shape[1] and values[:, columns:].any()):
        fitting = np.clip(values, max(limits.min, own.min), min(limits.max, own.max))
        fitting[:, columns:] = 0
        positions = np.flatnonzero(fitting != values)
    stored = array_in(memory, (len(values), columns), dtype)
    np.copyto(stored, fitting[::-1, :columns], casting="unsafe")
    originals = values.reshape(-1)[positions].view(f"u{values.itemsize}")
    return Counts(stored, ExceptionValues.far(positions, originals), len(positions), lowest, max(highest, 0))


def _rounded(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    values = np.rint(np.nan_to_num(values.astype(np.float32), nan=0.0))
    clipped: NDArray[Any] = np.clip(values, float(limits.min), float(limits.max)).astype(dtype)
    return clipped


def _whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Those exceptions that a wider count type would hold."""
    with np.errstate(invalid="ignore"):
        values = values.astype(np.float32)
        # -0.0 and NaN have no place in any integer type
        whole: NDArray[Any] = values[(values != 0) & (np.abs(values) <= MAX_COUNT) & (values == np.rint(values))]
    return whole
