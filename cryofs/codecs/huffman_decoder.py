"""Decode deflate blocks of literals to counts, with several counts per table look-up, two strips at a time.

A general decoder must expect copies of earlier strings, and decodes one or two literals per step. Here, a table of all
combinations of the next 11 bits yields four to six counts per step. Because each step depends on the previous one, the
steps of two strips alternate. Streams with copies of strings are left to a general decoder.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled
from cryofs.codecs.huffman_encoder import END, LENGTH_ORDER, RUN, RUN_MIN, SYMBOLS, make_codes

# Number of bits per table look-up, such that two tables fit into the first-level cache.
_BITS = 11
_MASK = np.uint64((1 << _BITS) - 1)
# A table entry: size in bits of its counts in the lowest byte, then up to six counts, their number in the highest byte.
_MOST = 6
_LENGTH_MASK = np.uint64(63)
_COUNTS_SHIFT, _MANY_SHIFT = np.uint64(8), np.uint64(56)
# Look-ups for each refill of the buffer, which then has at least 56 bits: enough for 4 x 11.
_LOOK_UPS = 4
# Number of bytes that these look-ups may write; the last ones are overwritten by the next look-ups.
_REACH = _LOOK_UPS * _MOST + 8
_WORD = 8
# Sizes in bits of a zlib header and of the type of a final dynamic block; 257 literals and lengths.
_ZLIB_HEAD = 16
_FINAL_DYNAMIC = 5
_LENGTHS = 320
_COPY = 16
_COPY_MIN = _ZEROS_MIN = 3
# Bit offset returned if a stream has no further data.
_NOWHERE = 0
_DAMAGED = -1


def decode(streams: Sequence[bytes], strips: Sequence[NDArray[np.uint8]]) -> list[bool]:
    """Decode zlib streams that consist of one block of literals into strips of shape (n,).

    The function writes nothing outside the strips. It does not verify the checksums at the ends of the streams.

    Returns
    -------
    list of bool
        True for each completely decoded strip; False if its stream is damaged, or is not a single block of literals.
    """
    tasks = [(np.frombuffer(stream, np.uint8), strip) for stream, strip in zip(streams, strips, strict=True)]
    if len(tasks) % 2:
        tasks.append((np.empty(0, np.uint8), np.empty(0, np.uint8)))
    ends: list[int] = []
    for first in range(0, len(tasks), 2):
        ends += _decode_two(*tasks[first], *tasks[first + 1])
    return [end == len(strip) for end, strip in zip(ends, strips, strict=False)]


@compiled
def _decode_two(stream, strip, other_stream, other_strip):  # type: ignore[no-untyped-def]
    """Decode two streams into two strips; return the number of decoded bytes of each stream, or _DAMAGED."""
    bit, code, table = _read_code(stream)
    other_bit, other_code, other_table = _read_code(other_stream)
    end, other_end = np.int64(0 if bit else _DAMAGED), np.int64(0 if other_bit else _DAMAGED)
    while bit and other_bit:
        bit, end, other_bit, other_end = _look_up_both(
            stream, bit, table, strip, end, other_stream, other_bit, other_table, other_strip, other_end
        )
        # one stream is near its end or has reached a rare count, which is not in the table
        bit, end = _decode_one(stream, bit, code, strip, end)
        other_bit, other_end = _decode_one(other_stream, other_bit, other_code, other_strip, other_end)
    end = _decode_rest(stream, bit, code, table, strip, end)
    return end, _decode_rest(other_stream, other_bit, other_code, other_table, other_strip, other_end)


@compiled
def _decode_rest(stream, bit, code, table, strip, end):  # type: ignore[no-untyped-def]
    """Decode a stream from a bit offset to its end; return the end of the decoded bytes in the strip."""
    while bit:
        bit, end = _look_up(stream, bit, table, strip, end)
        bit, end = _decode_one(stream, bit, code, strip, end)
    return end


@compiled
def _look_up(stream, bit, table, strip, end):  # type: ignore[no-untyped-def]
    """Decode symbols with the table from a bit offset on; return the offsets reached in the stream and in the strip."""
    place, queue, held = _begin(stream, bit)
    found = True
    while found and place + _WORD <= len(stream) and end + _REACH <= len(strip):
        place, queue, held, end, found = _few(stream, place, queue, held, table, strip, end)
    return (place << 3) - np.int64(held), end


@compiled
def _look_up_both(stream, bit, table, strip, end, stream2, bit2, table2, strip2, end2):  # type: ignore[no-untyped-def]
    """Perform `_look_up` on two streams until one of them cannot continue."""
    place, queue, held = _begin(stream, bit)
    place2, queue2, held2 = _begin(stream2, bit2)
    found = found2 = True
    while (found and place + _WORD <= len(stream) and end + _REACH <= len(strip)) and (
        found2 and place2 + _WORD <= len(stream2) and end2 + _REACH <= len(strip2)
    ):
        place, queue, held, end, found = _few(stream, place, queue, held, table, strip, end)
        place2, queue2, held2, end2, found2 = _few(stream2, place2, queue2, held2, table2, strip2, end2)
    return (place << 3) - np.int64(held), end, (place2 << 3) - np.int64(held2), end2


@compiled
def _begin(stream, bit):  # type: ignore[no-untyped-def]
    """Return the reading state at a bit offset of a stream: next byte, buffered bits, and number of buffered bits."""
    held = -bit & 7
    return (bit + 7) >> 3, np.uint64(_bits_at(stream, bit, held)), np.uint64(held)


@compiled
def _few(stream, place, queue, held, table, strip, end):  # type: ignore[no-untyped-def]
    """Refill the bit buffer and do _LOOK_UPS look-ups; return the new state, and True if all found symbols."""
    # bits above the buffered ones are already those of the stream, so that reading them again changes nothing
    queue |= _load(stream, place) << held  # type: ignore[call-arg]
    place += np.int64((np.uint64(63) - held) >> np.uint64(3))
    held |= np.uint64(56)
    entry = np.uint64(0)
    for _ in range(_LOOK_UPS):
        entry = table[np.int64(queue & _MASK)]
        _store(strip, end, entry >> _COUNTS_SHIFT)
        length = entry & _LENGTH_MASK
        queue >>= length
        held -= length
        end += np.int64(entry >> _MANY_SHIFT)
    return place, queue, held, end, entry != 0


@compiled
def _decode_one(stream, bit, code, strip, end):  # type: ignore[no-untyped-def]
    """Decode one symbol bit by bit; return new offsets, or markers for the end of the block or an invalid symbol."""
    lengths, codes = code
    ahead = _bits_at(stream, bit, 15)
    for symbol in range(SYMBOLS):
        length = lengths[symbol]
        if length and ahead & ((1 << length) - 1) == codes[symbol]:
            if symbol == END and bit + length <= len(stream) << 3:
                return np.int64(_NOWHERE), end
            if symbol == END or end == len(strip):
                break
            strip[end] = symbol
            return bit + length, end + 1
    return np.int64(_NOWHERE), np.int64(_DAMAGED)


@compiled
def _read_code(stream):  # type: ignore[no-untyped-def]
    """Return the bit offset of the data (_NOWHERE for an unsupported stream), the code, and the look-up table."""
    lengths, table = np.zeros(_LENGTHS, np.int64), np.zeros(1 << _BITS, np.uint64)
    bit = _read_lengths(stream, lengths)
    codes = make_codes(lengths[:SYMBOLS])
    if bit:
        _fill_table(lengths, codes, table)
    return bit, (lengths[:SYMBOLS], codes), table


@compiled
def _read_lengths(stream, lengths):  # type: ignore[no-untyped-def]
    """Fill in the lengths of the codes (RFC 1951, 3.2.7); return the bit offset of the data, or _NOWHERE."""
    bit = np.int64(_ZLIB_HEAD)
    # the block must be final, with dynamic codes, and must have no length symbols beyond the end-of-block symbol
    if len(stream) < _WORD or _bits_at(stream, bit, 8) != _FINAL_DYNAMIC:
        return np.int64(_NOWHERE)
    wanted = SYMBOLS + 1 + _bits_at(stream, bit + 8, 5)
    of_lengths = np.zeros(len(LENGTH_ORDER), np.int64)
    known = 4 + _bits_at(stream, bit + 13, 4)
    bit += 17
    for symbol in LENGTH_ORDER[:known]:
        of_lengths[symbol] = _bits_at(stream, bit, 3)
        bit += 3
    codes = make_codes(of_lengths)
    done = 0
    while done < wanted and bit >> 3 < len(stream):
        ahead = _bits_at(stream, bit, 7)
        found = -1
        for symbol in range(len(of_lengths)):
            length = of_lengths[symbol]
            if length and ahead & ((1 << length) - 1) == codes[symbol]:
                found = symbol
        if found < 0 or (found == _COPY and done == 0):
            return np.int64(_NOWHERE)
        bit += of_lengths[found]
        times, value = 1, found
        if found == _COPY:
            times, value = _COPY_MIN + _bits_at(stream, bit, 2), lengths[done - 1]
            bit += 2
        elif found == RUN:
            times, value = RUN_MIN + _bits_at(stream, bit, 7), 0
            bit += 7
        elif found > _COPY:
            times, value = _ZEROS_MIN + _bits_at(stream, bit, 3), 0
            bit += 3
        lengths[done : min(done + times, wanted)] = value
        done += times
    return bit if done == wanted else np.int64(_NOWHERE)


@compiled
def _bits_at(stream, bit, count):  # type: ignore[no-untyped-def]
    """Return up to 17 bits of a stream as a number, the first bit lowest; bits after the end are 0."""
    bits = np.int64(0)
    for byte in range(3):
        if (bit >> 3) + byte < len(stream):
            bits |= np.int64(stream[(bit >> 3) + byte]) << (8 * byte)
    return (bits >> (bit & 7)) & ((1 << count) - 1)


@compiled
def _fill_table(lengths, codes, table):  # type: ignore[no-untyped-def]
    """Fill in the table entries of all combinations of _BITS bits."""
    symbols = np.zeros(1 << _BITS, np.int64)
    for symbol in range(END):
        if 0 < lengths[symbol] <= _BITS:
            symbols[codes[symbol] :: 1 << lengths[symbol]] = symbol + 1
    for bits in range(1 << _BITS):
        entry, taken, many = np.uint64(0), 0, 0
        while many < _MOST:
            symbol = symbols[bits >> taken] - 1
            if symbol < 0 or taken + lengths[symbol] > _BITS:
                break
            entry |= np.uint64(symbol) << np.uint64(8 * many)
            taken += lengths[symbol]
            many += 1
        table[bits] = entry << _COUNTS_SHIFT | np.uint64(taken) | np.uint64(many) << _MANY_SHIFT


@intrinsic
def _load(context, data, place):  # type: ignore[no-untyped-def]
    """Return eight bytes of an array, at any alignment, as a little-endian number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(data, types.intp), generate


@intrinsic
def _store(context, data, place, number):  # type: ignore[no-untyped-def]
    """Write a number into eight bytes of an array, at any alignment, with the lowest byte first."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(data, types.intp, types.uint64), generate


def load() -> None:
    """Load the compiled code of the decoder, or compile it."""
    decode([bytes(_WORD)], [np.empty(1, np.uint8)])
