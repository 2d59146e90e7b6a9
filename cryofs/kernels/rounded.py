"""Convert gain-normalised values of 16 bits to counts.

A value is round(count x gain x scale), computed as `GainReference.restore` does. Only values that are restored exactly
become counts; all others are exceptions.
"""

import numpy as np

from cryofs.codecs.compiled import compiled
from cryofs.kernels.from_counts import SHIFT

_SHIFT = SHIFT
_ZERO = np.float32(0)
_HALF = np.float32(0.5)
_MAX_COUNT = np.float32(65535)
# Number of values converted at a time, such that they and their intermediates fit in the first-level cache. It is also
# the initial capacity for exceptions; doubling it always makes room for those of another piece.
_PIECE = 512


@compiled
def divide_integers(values, bits, gain, numbers, stored, limit):  # type: ignore[no-untyped-def]
    """Convert values to counts in `stored`, rows in reverse order, and return figures and exceptions.

    Parameters
    ----------
    values, bits : ndarray, shape (rows, nx)
        The values, and the same memory as uint16.
    numbers : ndarray
        Result of `GainReference.integer_numbers`.
    limit : float32
        Largest count of the stored type.

    Returns
    -------
    tuple
        The highest true count, the number of exceptions that are counts beyond the limit, and the positions, bits and
        steps of all exceptions.
    """
    rows, nx = values.shape
    scale, offset, back, top = numbers
    # the middle of the products that become a value lies half above it if they are truncated
    lean = _HALF if offset == _ZERO else _ZERO
    counts, restored = np.empty(_PIECE, np.float32), np.empty(_PIECE, np.int32)
    positions, originals, steps = np.empty(_PIECE, np.int64), np.empty(_PIECE, np.uint16), np.empty(_PIECE, np.int64)
    found = np.int64(0)
    highest = highest_exception = _ZERO
    beyond = 0
    for row in range(rows):
        for first in range(0, nx, _PIECE):
            size = min(_PIECE, nx - first)
            piece, factors = values[row, first : first + size], gain[row, first : first + size]
            for x in range(size):
                counts[x] = _count(piece[x], factors[x] * scale, lean, limit)
                restored[x] = _restored(counts[x], factors[x] * scale, offset, back, top)
            different = np.int32(0)
            for x in range(size):
                different += np.int32(restored[x] != np.int32(piece[x]))
            page = stored[rows - 1 - row, first : first + size]
            for x in range(size):
                page[x] = np.int32(counts[x])
            for x in range(size):
                highest = max(highest, counts[x])
            if different == 0:
                continue
            if found + different > len(positions):
                positions, originals, steps = doubled(positions), doubled(originals), doubled(steps)
            for x in range(size):
                value = np.int32(piece[x])
                if restored[x] == value:
                    continue
                positions[found] = row * nx + first + x
                originals[found] = bits[row, first + x]
                steps[found] = value - restored[x]
                found += 1
                count = _count(piece[x], factors[x] * scale, lean, _MAX_COUNT)
                if _restored(count, factors[x] * scale, offset, back, top) == value:
                    beyond += 1
                    highest_exception = max(highest_exception, count)
    return int(max(highest, highest_exception)), beyond, positions[:found], originals[:found], steps[:found]


@compiled
def _count(value, factor, lean, limit):  # type: ignore[no-untyped-def]
    """Return the count nearest to a value, from 0 to a limit, as float32."""
    quotient = (np.float32(value) + lean) / factor
    # this order of comparisons turns NaN into 0
    quotient = quotient if quotient > _ZERO else _ZERO
    quotient = quotient if quotient < limit else limit
    return (quotient + _SHIFT) - _SHIFT


@compiled
def _restored(count, factor, offset, back, top):  # type: ignore[no-untyped-def]
    product = count * factor
    product = product if product > _ZERO else _ZERO
    product = product if product < top else top
    return np.int32((product + offset) - back)


@compiled
def doubled(array):  # type: ignore[no-untyped-def]
    """Return a copy of the array with twice its length."""
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer
