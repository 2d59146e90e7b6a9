"""Convert values to counts, exact to the last bit; `cryofs.kernels.from_counts` is the inverse.

A value is stored as a count only if restoring it reproduces its bits exactly. Every other value (a defect, NaN,
infinity, -0.0, a negative value, a count beyond the stored type, any value under a wrong gain) is an exception, stored
as its bits. A wrong gain therefore costs space but not correctness. Page rows are frame rows in reverse order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled
from cryofs.kernels.from_counts import Arithmetic, ExceptionValues, GainReference, array_in, widen
from cryofs.kernels.rounded import divide_integers, doubled

COUNT_DTYPES = (np.dtype("u1"), np.dtype("i1"), np.dtype("u2"), np.dtype("i2"))
MAX_COUNT = 65535
_MAX_COUNT_F4 = np.float32(MAX_COUNT)
_ZERO_F4 = np.float32(0)
# Adding 1.5 * 2**23 to a float32 below 2**22 rounds it to the nearest integer, ties to even, in the low bits of the
# sum. Unlike rint, this compiles to vector instructions.
_SHIFT_F4 = np.float32(12582912.0)
_SHIFT_BITS = 0x4B400000
# Maximum difference of a near exception from the restored value in last bits; fits an int8.
_NEAR = 127
_ARITHMETICS = list(Arithmetic)
# Number of values converted at a time, such that they and their intermediates fit into the first-level cache. It is
# also the initial capacity for exceptions; doubling it always makes room for those of another piece.
_PIECE = 512
_DOUBLE, _RECIPROCAL = _ARITHMETICS.index(Arithmetic.DOUBLE), _ARITHMETICS.index(Arithmetic.RECIPROCAL)


@dataclass(frozen=True)
class Counts:
    """Whole rows of a frame as stored counts and exceptions.

    Attributes
    ----------
    stored : ndarray, shape (rows, nx)
        Page rows (reversed frame rows); at exceptions, the value is rounded and clipped to the limits of the type.
    exceptions : ExceptionValues
        Exceptions of the flattened frame rows.
    beyond : int
        Number of exceptions that are true counts outside the range of the stored type.
    lowest, highest : int
        Range of all true counts, including those outside the range of the stored type. Exceptions may widen this range
        up to the limits of the stored type.
    """

    stored: NDArray[Any]
    exceptions: ExceptionValues
    beyond: int
    lowest: int
    highest: int


def narrowest_dtype(lowest: int, highest: int) -> np.dtype[Any]:
    """Return the narrowest type for a range of counts; uint16 if none fits, and negative counts become exceptions."""
    for dtype in COUNT_DTYPES:
        limits = np.iinfo(dtype)
        if limits.min <= lowest and highest <= limits.max:
            return dtype
    return np.dtype("u2")


def divide(
    values: NDArray[Any],
    reference: GainReference,
    rows: slice,
    dtype: np.dtype[Any],
    memory: NDArray[np.uint8] | None = None,
) -> Counts:
    """Return the counts of gain-normalised rows.

    Parameters
    ----------
    values : ndarray of float32, int16 or uint16, shape (rows, nx)
        C-contiguous rows in frame order; integers if the arithmetic of the reference is one of integers.
    rows : slice
        Position of the rows in the frame.
    dtype : unsigned integer type
        Type of the stored counts.
    memory : ndarray of uint8 or None
        Memory for the counts; None to allocate it.
    """
    gain = reference.gain[rows]
    detail = gain if reference.detail is None else reference.detail[rows]
    arithmetic = _ARITHMETICS.index(reference.arithmetic)
    if values.shape != gain.shape:
        raise ValueError(f"values of shape {values.shape} do not fit a gain of shape {gain.shape}")
    stored = array_in(memory, values.shape, dtype)
    limit = np.iinfo(dtype).max
    if reference.arithmetic.is_integer:
        numbers = reference.integer_numbers(values.dtype)
        found = divide_integers(values, values.view(np.uint16), gain, numbers, stored, np.float32(limit))
        highest, beyond, positions, originals, steps = found
    else:
        highest, beyond, positions, originals, steps = _divide(values, gain, detail, arithmetic, stored, limit)
    near = np.abs(steps) <= _NEAR
    exceptions = ExceptionValues(positions[~near], originals[~near], positions[near], steps[near].astype(np.int8))
    return Counts(stored, exceptions, int(beyond), 0, int(highest))


@compiled
def _divide(values, gain, detail, arithmetic, stored, limit):  # type: ignore[no-untyped-def]
    """Convert values to counts in `stored`, and return statistics and exceptions.

    Returns the highest true count, the number of exceptions that are counts, and the positions, bits and steps of all
    exceptions.

    Short separate loops over a piece of a row compile to vector instructions; a single loop would not.
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
                # this order of comparisons turns NaN into 0
                quotient = quotient if quotient > _ZERO_F4 else _ZERO_F4
                quotient = quotient if quotient < top else top
                shifted[x] = quotient + _SHIFT_F4
            _restore(shifted[:size], piece_gain, piece_detail, arithmetic, restored)
            different = np.int32(0)
            for x in range(size):
                # NaN is always an exception, because the sign of a computed NaN depends on the processor
                different += np.int32((restored_bits[x] != piece_bits[x]) | (restored[x] != restored[x]))
            page = stored[rows - 1 - row, first : first + size]
            for x in range(size):
                page[x] = shifted_bits[x]
            for x in range(size):
                highest = max(highest, shifted_bits[x])
            if different == 0:
                continue
            if found + different > len(positions):
                positions, originals, steps = (
                    doubled(positions),
                    doubled(originals),
                    doubled(steps),
                )
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


@compiled
def _restore(shifted, gain, detail, arithmetic, restored):  # type: ignore[no-untyped-def]
    """Compute the values of counts in the same way as `GainReference.restore`."""
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


@compiled
def _collect(values, restored, start, positions, originals, steps):  # type: ignore[no-untyped-def]
    """Write the positions, bits and steps of values that counts do not restore; positions begin at `start`."""
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


@compiled
def _count(value, gain, detail, arithmetic):  # type: ignore[no-untyped-def]
    """Return the true count of a value outside the range of the stored type, or 0 if the value is not a count.

    All arrays have shape (1,).
    """
    quotient = value[0] / gain[0]
    if not _ZERO_F4 < quotient <= _MAX_COUNT_F4:
        return 0
    shifted, restored = np.empty(1, np.float32), np.empty(1, np.float32)
    shifted[0] = quotient + _SHIFT_F4
    _restore(shifted, gain, detail, arithmetic, restored)
    return int(shifted[0] - _SHIFT_F4) if restored.view(np.uint32)[0] == value.view(np.uint32)[0] else 0


def narrow(
    values: NDArray[Any], dtype: np.dtype[Any], columns: int | None = None, memory: NDArray[np.uint8] | None = None
) -> Counts:
    """Convert rows to another type without a gain: values become counts, or stay floats in a float type.

    Parameters
    ----------
    values : ndarray, shape (rows, n)
        Integers or floats, in frame order.
    columns : int or None
        Number of the n columns to store. Nonzero values in all other columns (padding of 4-bit rows) are exceptions.
    memory : ndarray of uint8 or None
        Memory for the counts; None to allocate it.
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
            # a stored count of 65535 is restored as infinity in float16
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
    # negative values are large as unsigned integers, so one pass suffices if there are none
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
    """Return the values that a wider integer type could store."""
    with np.errstate(invalid="ignore"):
        values = values.astype(np.float32)
        # no integer type has -0.0 or NaN
        whole: NDArray[Any] = values[(values != 0) & (np.abs(values) <= MAX_COUNT) & (values == np.rint(values))]
    return whole
