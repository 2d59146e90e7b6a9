"""Sparse counts as TIFF's LZW (TIFF 6.0, section 13): an encoder more than twice as fast as general ones.

Where most pixels are zero, strings of counts repeat by chance, and LZW is the smallest codec of those that every TIFF
reader has. Nearly all counts there are below 8, so each dictionary entry has its continuations by these in a row of a
table, and a step is one look-up without a branch. A larger count is never looked up: it ends the string.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_CLEAR, _END = 256, 257
_FIRST_FREE = 258
# Codes are 9 to 12 bits long; the dictionary is cleared before the last 12-bit codes, as libtiff does it.
_FIRST_WIDTH = np.uint64(9)
_FULL = 4094
_SMALL_BITS = 3
SMALL = 1 << _SMALL_BITS
# Bits that a code and the clear code behind it may take, in words of 32.
_ROOM = 8


def encode(data: NDArray[np.uint8]) -> bytes:
    """LZW stream of a strip.

    Parameters
    ----------
    data : ndarray of uint8, shape (n,), n > 0
    """
    # no more than 12 bits for each value and each clear
    words = np.empty(len(data) // 2 + _ROOM, np.uint32)
    size = int(_encode(data, words))
    return words[: -(-size // 4)].astype(">u4").view(np.uint8)[:size].tobytes()


@njit(nogil=True, cache=True, error_model="numpy")
def _encode(data, words):  # type: ignore[no-untyped-def]
    """Write the stream into `words`, their highest bits first; return how many bytes it takes."""
    children = np.zeros(4096 << _SMALL_BITS, np.uint16)
    # `bits` bits of `queue` wait to be written, always less than 32 between steps
    queue, bits, place = np.uint64(_CLEAR), _FIRST_WIDTH, np.int64(0)
    free, width, limit = np.int64(_FIRST_FREE), _FIRST_WIDTH, np.int64(512)
    string = np.int64(data[0])
    for index in range(1, len(data)):
        value = np.int64(data[index])
        found = np.int64(0)
        if value < SMALL:
            slot = string << _SMALL_BITS | value
            found = np.int64(children[slot])
            children[slot] = found if found else free
        ended = found == 0
        queue = (queue << width | np.uint64(string)) if ended else queue
        bits += width if ended else np.uint64(0)
        # a word is written in any case, and again once it is full
        full = bits >> np.uint64(5)
        bits &= np.uint64(31)
        words[place] = (queue >> bits) & np.uint64(0xFFFFFFFF)
        place += np.int64(full)
        free += np.int64(ended)
        string = value if ended else found
        if free >= limit:
            if free == _FULL:
                queue, bits, place = _put(queue, bits, place, words, _CLEAR, width)
                children[:] = 0
                free, width = np.int64(_FIRST_FREE), _FIRST_WIDTH
            else:
                width += np.uint64(1)
            limit = min(np.int64(1) << np.int64(width), np.int64(_FULL))
    queue, bits, place = _put(queue, bits, place, words, string, width)
    if free + 1 == _FULL:
        queue, bits, place = _put(queue, bits, place, words, _CLEAR, width)
        width = _FIRST_WIDTH
    elif free + 1 >= limit:
        width += np.uint64(1)
    queue, bits, place = _put(queue, bits, place, words, _END, width)
    words[place] = (queue << (np.uint64(32) - bits)) & np.uint64(0xFFFFFFFF)
    return 4 * place + (np.int64(bits) + 7) // 8


@njit(nogil=True, cache=True, error_model="numpy")
def _put(queue, bits, place, words, code, width):  # type: ignore[no-untyped-def]
    """Append a code."""
    queue = queue << width | np.uint64(code)
    bits += width
    if bits >= np.uint64(32):
        bits -= np.uint64(32)
        words[place] = (queue >> bits) & np.uint64(0xFFFFFFFF)
        place += 1
    return queue, bits, place
