"""Kernels for LZW in TIFF (TIFF 6.0, section 13): an encoder for sparse counts, and a decoder.

If most pixels are zero, strings of counts repeat by chance, and LZW is the smallest codec that every TIFF reader
supports. The encoder is two to ten times as fast as others, because it jumps from one nonzero pixel to the next, so
that a run of zeros of any length is one step. A count of 8 or more is not looked up; it ends the string.

The decoder does not store strings. For each string, it stores the position of the first occurrence in the decoded data,
and copies the bytes from there.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled
from cryofs.errors import DamagedError

_CLEAR, _END = 256, 257
_FIRST_FREE = 258
# Codes have 9 to 12 bits; as in libtiff, the dictionary is cleared before the last 12-bit codes.
_FIRST_WIDTH = np.uint64(9)
_FULL = 4094
_CODES = 1 << 12
SMALL = 8
# Room for a code and a following clear code, in words of 32 bits.
_ROOM = 8
# Number of bytes that the decoder copies at a time.
_PIECE = 16
_DAMAGED = -1
# Entries of a chain: as many as fit into a cache line of the processor, for each of the two tables.
_CHAIN = 32
# An entry of a chain: the code of its string, and the chain that continues the string with a count of one.
_OWN, _ONE = 0, 1
# Number of values that the encoder tests together for nonzero ones.
_BLOCK = 64


def encode(data: NDArray[np.uint8]) -> bytes:
    """Return the LZW stream of a strip.

    Parameters
    ----------
    data : ndarray of uint8, shape (n,), n > 0
        Counts.
    """
    # at most 12 bits for each value and each clear code
    words = np.empty(len(data) // 2 + _ROOM, np.uint32)
    size = int(_encode(data, words))
    return words[: -(-size // 4)].astype(">u4").view(np.uint8)[:size].tobytes()


def decode(stream: bytes, data: NDArray[np.uint8]) -> None:
    """Decode a strip into `data` (uint8, shape (n,)); write nothing outside it, even for a damaged stream.

    Raises
    ------
    DamagedError
        The stream is invalid, or does not contain exactly n bytes.
    """
    size = int(_decode(np.frombuffer(stream, np.uint8), data))
    if size != len(data):
        raise DamagedError(f"damaged LZW stream of a strip (expected {len(data)} bytes)")


@compiled
def _encode(data, words):  # type: ignore[no-untyped-def]
    """Write the stream into `words`, highest bits first; return the size of the stream in bytes."""
    chains, lengths, others = _new_chains()
    used = _forget(chains, lengths, others)
    queue, bits, place, free, width = np.uint64(_CLEAR), _FIRST_WIDTH, np.int64(0), np.int64(_FIRST_FREE), _FIRST_WIDTH
    chain, depth, place_of_count, end = int(data[0]), 0, 0, len(data)
    block, counted = 0, _counts_in(data, 0) & ~np.uint64(1)
    while True:
        while counted == 0 and block + _BLOCK < end:
            block += _BLOCK
            # not all by `_counts_in`, because calls with arrays cost more than the test
            counted = (
                _counts_in_block(data, block)  # type: ignore[call-arg]
                if block + _BLOCK <= end
                else _counts_in(data, block)
            )
        before = place_of_count
        place_of_count = block + int(trailing_zeros(counted)) if counted else end  # type: ignore[call-arg]
        counted &= counted - np.uint64(1)
        zeros = place_of_count - before - 1
        while depth + zeros >= lengths[chain]:
            # the chain ends within the zeros; the first missing zero is added as an entry and begins the next string
            length = int(lengths[chain])
            zeros -= length - depth
            code = chains[chain, _OWN, length - 1]
            if length < _CHAIN:
                chains[chain, _OWN, length], chains[chain, _ONE, length] = free, 0
                lengths[chain] = length + 1
            elif others[code, 0]:
                chain, depth = int(others[code, 0]), 0
                continue
            else:
                others[code, 0] = used
                used = _begin_chain(chains, lengths, used, free)
            others[free] = 0
            queue, bits, place, free, width = _put_string(queue, bits, place, words, np.uint64(code), free, width)
            if free == _FIRST_FREE:
                used = _forget(chains, lengths, others)
            chain, depth = 0, 0
        depth += zeros
        if place_of_count == end:
            return _end(queue, bits, place, words, np.uint64(chains[chain, _OWN, depth]), free, width)
        value = int(data[place_of_count])
        code = chains[chain, _OWN, depth]
        found = chains[chain, _ONE, depth] if value == 1 else others[code, value] if value < SMALL else np.uint16(0)
        if found:
            chain, depth = int(found), 0
            continue
        if value == 1:
            chains[chain, _ONE, depth] = used
        elif value < SMALL:
            others[code, value] = used
        if value < SMALL:
            used = _begin_chain(chains, lengths, used, free)
        others[free] = 0
        queue, bits, place, free, width = _put_string(queue, bits, place, words, np.uint64(code), free, width)
        if free == _FIRST_FREE:
            used = _forget(chains, lengths, others)
        chain, depth = value, 0


@compiled
def _new_chains():  # type: ignore[no-untyped-def]
    """Return the tables of the encoder: chains, their lengths, and other chains by code.

    Strings that differ only in the number of zeros at the end form a chain. `chains` has a row for each chain; each
    place of the row stands for one more zero. A place contains the code of the string, and the chain that continues
    the string with a count of one, or 0 if there is none. Chains 0 to 255 begin with the count of the same value. All
    other chains begin where a count follows a string, or where a chain is too long for a row. `others` contains the
    chain after a count above one or after a zero too many for its row; 0 if there is none.
    """
    chains = np.empty((_CODES, 2, _CHAIN), np.uint16)
    for value in range(256):
        chains[value, _OWN, 0] = value
    return chains, np.empty(_CODES, np.uint8), np.empty((_CODES, SMALL), np.uint16)


@compiled
def _begin_chain(chains, lengths, used, code):  # type: ignore[no-untyped-def]
    """Begin a chain with the string of a code; return the new number of chains."""
    chains[used, _OWN, 0], chains[used, _ONE, 0] = code, 0
    lengths[used] = 1
    return used + 1


@compiled
def _forget(chains, lengths, others):  # type: ignore[no-untyped-def]
    """Delete all chains except those of single counts; return the number of remaining chains."""
    lengths[:256], others[:256] = 1, 0
    for value in range(256):
        chains[value, _ONE, 0] = 0
    return 256


@compiled
def _counts_in(data, start):  # type: ignore[no-untyped-def]
    """Return a bit mask of the nonzero values among the next 64, lowest bit first; values after the end are 0."""
    if start + _BLOCK <= len(data):
        return _counts_in_block(data, start)  # type: ignore[call-arg]
    mask = np.uint64(0)
    for place in range(start, len(data)):
        mask |= np.uint64(data[place] != 0) << np.uint64(place - start)
    return mask


@compiled
def _put_string(queue, bits, place, words, code, free, width):  # type: ignore[no-untyped-def]
    """Append the code of a string, and count the new dictionary entry; clear the dictionary when it is full."""
    queue, bits, place = _put(queue, bits, place, words, code, width)
    free += 1
    if free == _FULL:
        queue, bits, place = _put(queue, bits, place, words, np.uint64(_CLEAR), width)
        return queue, bits, place, np.int64(_FIRST_FREE), _FIRST_WIDTH
    if free == np.int64(1) << np.int64(width):
        width += np.uint64(1)
    return queue, bits, place, free, width


@compiled
def _end(queue, bits, place, words, code, free, width):  # type: ignore[no-untyped-def]
    """Write the last code and the end code; return the size of the stream in bytes."""
    queue, bits, place, _, width = _put_string(queue, bits, place, words, code, free, width)
    queue, bits, place = _put(queue, bits, place, words, np.uint64(_END), width)
    words[place] = (queue << (np.uint64(32) - bits)) & np.uint64(0xFFFFFFFF)
    return 4 * place + (np.int64(bits) + 7) // 8


@compiled
def _put(queue, bits, place, words, code, width):  # type: ignore[no-untyped-def]
    """Append a code; the low `bits` bits of `queue`, fewer than 32, are not yet written."""
    queue = queue << width | code
    bits += width
    # always written, and overwritten when more bits have joined, which is cheaper than a branch
    words[place] = (queue << (np.uint64(64) - bits)) >> np.uint64(32)
    return queue, bits & np.uint64(31), place + np.int64(bits >> np.uint64(5))


@compiled
def _decode(stream, data):  # type: ignore[no-untyped-def]
    """Decode the stream into `data`; return the number of decoded bytes, or _DAMAGED."""
    # by code, the position of the first occurrence of its string, and its length
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
            # the first code after a clear code adds no entry; the entry written here is never looked up
            free, width = np.int64(_END), np.int64(9)
            continue
        # the entry is the previous string and the first value of this one; this code may already use it
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
        # the width grows one code early, as in libtiff
        if free + 1 == 1 << width and width < 12:
            width += 1
        if free > _CODES:
            return _DAMAGED


@intrinsic
def _copy_piece(context, data, to, source):  # type: ignore[no-untyped-def]
    """Copy _PIECE bytes within an array, at any alignment; source and destination must not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        piece = ir.VectorType(ir.IntType(8), _PIECE)

        def pointer(index: Any) -> Any:
            return builder.bitcast(builder.gep(array.data, [index]), piece.as_pointer())

        builder.store(builder.load(pointer(arguments[2]), align=1), pointer(arguments[1]), align=1)
        return context.get_dummy_value()

    return types.void(data, types.intp, types.intp), generate


@intrinsic
def _counts_in_block(context, data, start):  # type: ignore[no-untyped-def]
    """Return the result of `_counts_in` for a complete block of 64 values."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        block = ir.VectorType(ir.IntType(8), _BLOCK)
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), block.as_pointer())
        counted = builder.icmp_unsigned("!=", builder.load(pointer, align=1), ir.Constant(block, None))
        return builder.bitcast(counted, ir.IntType(_BLOCK))

    return types.uint64(data, types.intp), generate
