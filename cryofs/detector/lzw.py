"""Sparse counts as TIFF's LZW (TIFF 6.0, section 13): an encoder twice as fast as general ones, and a decoder.

Where most pixels are zero, strings of counts repeat by chance, and LZW is the smallest codec of those that every TIFF
reader has. Nearly all counts there are below 4, so each dictionary entry has its continuations by these in a row of a
table that fits into the processor's first cache, and those by 4 to 7 in a second one. A larger count is never looked
up: it ends the string.

The decoder keeps no strings, but where in the decoded data each one occurred first, and copies from there.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from cryofs.errors import DamagedError

_CLEAR, _END = 256, 257
_FIRST_FREE = 258
# Codes are 9 to 12 bits long; the dictionary is cleared before the last 12-bit codes, as libtiff does it.
_FIRST_WIDTH = np.uint64(9)
_FULL = 4094
_CODES = 1 << 12
_ROW_BITS = np.uint64(2)
_LOW = np.uint64(3)
SMALL = 8
# Bits that a code and the clear code behind it may take, in words of 32.
_ROOM = 8
# Bytes that the decoder copies at a time.
_PIECE = 16
_DAMAGED = -1


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


def decode(stream: bytes, data: NDArray[np.uint8]) -> None:
    """Decode a strip into `data`, shape (n,), and nothing beside it, whatever the stream.

    Raises
    ------
    DamagedError
        The stream is no valid one, or does not hold exactly n bytes.
    """
    size = int(_decode(np.frombuffer(stream, np.uint8), data))
    if size != len(data):
        raise DamagedError(f"a strip cannot be decoded to {len(data)} bytes; its LZW stream is damaged")


@njit(nogil=True, cache=True, error_model="numpy")
def _encode(data, words):  # type: ignore[no-untyped-def]
    """Write the stream into `words`, their highest bits first; return how many bytes it takes."""
    # a string is the place of its row in the first table; what follows it by a small count, or 0
    children = np.zeros(2 * _CODES << _ROW_BITS, np.uint16)
    second_table = np.uint64(_CODES << _ROW_BITS) - _LOW - np.uint64(1)
    # `bits` bits of `queue` wait to be written, always less than 32 between steps
    queue, bits, place = np.uint64(_CLEAR), _FIRST_WIDTH, np.int64(0)
    free, width, limit = np.int64(_FIRST_FREE), _FIRST_WIDTH, np.int64(512)
    string = np.uint64(data[0]) << _ROW_BITS
    for index in range(1, len(data)):
        value = np.uint64(data[index])
        if value < np.uint64(SMALL):
            # in this order a step waits for the step before as late as can be
            slot = string + (value + second_table if value > _LOW else value)
            found = np.uint64(children[slot])
            if found:
                string = found
                continue
            children[slot] = np.uint64(free) << _ROW_BITS
        queue, bits, place = _put(queue, bits, place, words, string >> _ROW_BITS, width)
        string = value << _ROW_BITS
        free += 1
        if free >= limit:
            if free == _FULL:
                queue, bits, place = _put(queue, bits, place, words, _CLEAR, width)
                children[:] = 0
                free, width = np.int64(_FIRST_FREE), _FIRST_WIDTH
            else:
                width += np.uint64(1)
            limit = min(np.int64(1) << np.int64(width), np.int64(_FULL))
    queue, bits, place = _put(queue, bits, place, words, string >> _ROW_BITS, width)
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


@njit(nogil=True, cache=True, error_model="numpy")
def _decode(stream, data):  # type: ignore[no-untyped-def]
    """Fill `data`; return how many bytes the stream holds, or _DAMAGED."""
    # where the string of each code occurred first, and its length
    places, lengths = np.zeros(_CODES + 1, np.int64), np.zeros(_CODES + 1, np.int64)
    queue, bits, position = np.uint64(0), np.int64(0), np.int64(0)
    free, width = np.int64(_END), np.int64(9)
    before, end = np.int64(0), np.int64(0)
    while True:
        while bits <= 48 and position < len(stream):
            queue = queue << np.uint64(8) | np.uint64(stream[position])
            bits += 8
            position += 1
        bits -= width
        if bits < 0:
            return _DAMAGED
        code = np.int64(queue >> np.uint64(bits)) & ((1 << width) - 1)
        if code == _END:
            return end
        if code == _CLEAR:
            # the first code after it makes no entry; one is written all the same, where none is looked up
            free, width = np.int64(_END), np.int64(9)
            continue
        # the string before, and the first value of this one, are the entry that may be used already
        places[free], lengths[free] = before, end + 1 - before
        source, length = places[code], lengths[code]
        if code < _CLEAR:
            length = 1
        elif code > free:
            return _DAMAGED
        if end + length > len(data):
            return _DAMAGED
        if code < _CLEAR:
            data[end] = code
        elif end - source >= _PIECE and end + length + _PIECE <= len(data):
            for first in range(0, length, _PIECE):
                _copy_piece(data, end + first, source + first)  # type: ignore[call-arg]
        else:
            for place in range(length):
                data[end + place] = data[source + place]
        before = end
        end += length
        free += 1
        # a width is left one code early
        if free + 1 == 1 << width and width < 12:
            width += 1
        if free > _CODES:
            return _DAMAGED


@intrinsic
def _copy_piece(context, data, to, source):  # type: ignore[no-untyped-def]
    """Copy _PIECE bytes within an array, unaligned; the two places must not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        piece = ir.VectorType(ir.IntType(8), _PIECE)

        def pointer(index: Any) -> Any:
            return builder.bitcast(builder.gep(array.data, [index]), piece.as_pointer())

        builder.store(builder.load(pointer(arguments[2]), align=1), pointer(arguments[1]), align=1)
        return context.get_dummy_value()

    return types.void(data, types.intp, types.intp), generate
