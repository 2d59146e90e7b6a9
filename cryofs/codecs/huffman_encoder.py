"""Encode counts as deflate blocks of literals (RFC 1951), with a separate Huffman code for each strip.

Counts repeat only by chance, so Huffman codes alone compress them best. General libraries support this mode (zlib's
Z_HUFFMAN_ONLY), but encode byte by byte, with a new code every 32 kB. One code per strip is slightly smaller, and a
table of the codes of all pairs of counts makes encoding three times as fast. Any inflate decoder reads the result.
"""

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled

END = 256
SYMBOLS = 257
_LONGEST = 15
# A table entry contains the bits of two codes and, above them, the number of these bits (at most 30).
_LENGTH_SHIFT = 58
# The code of the code lengths: 4 bits for lengths 0 to 14, 5 bits for 15 and for 18, a run of 11 to 138 zeros, in the
# order of RFC 1951, 3.2.7. A fixed code suffices, because the lengths take only about twenty bytes.
LENGTH_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15], np.int64)
RUN = 18
RUN_MIN, _RUN_MAX = 11, 138
# room for the header, at most 4 or 5 bits for each of 259 lengths, the end of the block, and the last word
_ROOM = 40


def encode(data: NDArray[np.uint8]) -> bytes:
    """Return the counts encoded as one final deflate block, without zlib header and checksum.

    Parameters
    ----------
    data : ndarray of uint8, shape (n,)
        Counts.
    """
    frequencies = np.zeros(SYMBOLS, np.int64)
    lengths = np.zeros(SYMBOLS, np.int64)
    bits = int(_make_lengths(data, frequencies, lengths))
    words = np.empty(bits // 64 + _ROOM, np.uint64)
    size = int(_encode(data, lengths, words))
    return words.astype("<u8", copy=False).view(np.uint8)[:size].tobytes()


@compiled
def _make_lengths(data, frequencies, lengths):  # type: ignore[no-untyped-def]
    """Fill in the frequencies of the counts and the lengths of the codes; return the encoded size in bits."""
    # four tables, because adding twice in a row to one entry would wait for the first store
    histograms = np.zeros((4, 256), np.int64)
    whole = len(data) // 4 * 4
    for place in range(0, whole, 4):
        histograms[0, data[place]] += 1
        histograms[1, data[place + 1]] += 1
        histograms[2, data[place + 2]] += 1
        histograms[3, data[place + 3]] += 1
    for place in range(whole, len(data)):
        histograms[0, data[place]] += 1
    for symbol in range(256):
        frequencies[symbol] = histograms[:, symbol].sum()
    frequencies[END] = 1
    _huffman_lengths(frequencies, lengths)
    return (frequencies * lengths).sum()


@compiled
def _huffman_lengths(frequencies, lengths):  # type: ignore[no-untyped-def]
    """Fill in the lengths of an optimal prefix code of at most 15 bits, by Huffman's method with two queues."""
    weights = frequencies.copy()
    while True:
        order = np.argsort(weights)
        order = order[weights[order] > 0]
        leaves = len(order)
        if leaves == 1:
            lengths[order[0]] = 1
            return
        # leaves first, then inner nodes, which are created in ascending order
        weight = np.empty(2 * leaves - 1, np.int64)
        parent = np.zeros(2 * leaves - 1, np.int64)
        for place in range(leaves):
            weight[place] = weights[order[place]]
        leaf, inner = 0, leaves
        for node in range(leaves, 2 * leaves - 1):
            total = 0
            for _ in range(2):
                if inner >= node or (leaf < leaves and weight[leaf] <= weight[inner]):
                    chosen, leaf = leaf, leaf + 1
                else:
                    chosen, inner = inner, inner + 1
                total += weight[chosen]
                parent[chosen] = node
            weight[node] = total
        depth = np.zeros(2 * leaves - 1, np.int64)
        for node in range(2 * leaves - 3, -1, -1):
            depth[node] = depth[parent[node]] + 1
        if depth[:leaves].max() <= _LONGEST:
            for place in range(leaves):
                lengths[order[place]] = depth[place]
            return
        # flattens the distribution until the longest code fits; the affected rare symbols cost little
        for symbol in range(len(weights)):
            weights[symbol] = (weights[symbol] + 1) // 2


@compiled
def _encode(data, lengths, words):  # type: ignore[no-untyped-def]
    """Write the block into `words`; return the size of the block in bytes."""
    codes = make_codes(lengths)
    words[0] = 0
    bit = _write_head(lengths, words)
    table = _pair_table(codes, lengths)
    word, filled = bit >> 6, np.uint64(bit & 63)
    rest = words[word]
    mask = (np.uint64(1) << np.uint64(_LENGTH_SHIFT)) - np.uint64(1)
    shift = np.uint64(_LENGTH_SHIFT)
    whole = len(data) // 4 * 4
    for place in range(0, whole, 4):
        one = table[np.int64(data[place]) | np.int64(data[place + 1]) << 8]
        other = table[np.int64(data[place + 2]) | np.int64(data[place + 3]) << 8]
        length = one >> shift
        bits = (one & mask) | ((other & mask) << length)
        length += other >> shift
        # always written, and overwritten when more bits have joined, which is cheaper than a branch
        joined = rest | (bits << filled)
        words[word] = joined
        beyond = (bits >> np.uint64(1)) >> (np.uint64(63) - filled)
        filled += length
        full = filled >> np.uint64(6)
        word += np.int64(full)
        rest = beyond if full else joined
        filled &= np.uint64(63)
    words[word] = rest
    bit = (word << 6) + np.int64(filled)
    for place in range(whole, len(data)):
        bit = _append(words, bit, codes[data[place]], lengths[data[place]])
    bit = _append(words, bit, codes[END], lengths[END])
    return (bit + 7) >> 3


@compiled
def _append(words, bit, value, length):  # type: ignore[no-untyped-def]
    """Append up to 32 bits to a stream, whose last word has zeros in unused bits; return the new end in bits."""
    word, filled = bit >> 6, np.uint64(bit & 63)
    words[word] |= np.uint64(value) << filled
    words[word + 1] = (np.uint64(value) >> np.uint64(1)) >> (np.uint64(63) - filled)
    return bit + length


@compiled
def make_codes(lengths):  # type: ignore[no-untyped-def]
    """Return the canonical codes for these lengths (RFC 1951, 3.2.2), the first bit lowest."""
    codes = np.zeros(len(lengths), np.int64)
    code = 0
    for length in range(1, lengths.max() + 1):
        for symbol in range(len(lengths)):
            if lengths[symbol] == length:
                for bit in range(length):
                    codes[symbol] |= (code >> bit & 1) << (length - 1 - bit)
                code += 1
        code <<= 1
    return codes


@compiled
def _pair_table(codes, lengths):  # type: ignore[no-untyped-def]
    """Return a table with the joined codes of all pairs of occurring counts, and the lengths of these codes."""
    table = np.empty(1 << 16, np.uint64)
    for second in range(256):
        if lengths[second] == 0:
            continue
        for first in range(256):
            if lengths[first]:
                bits = codes[first] | codes[second] << lengths[first]
                length = lengths[first] + lengths[second]
                table[first | second << 8] = np.uint64(bits) | np.uint64(length) << np.uint64(_LENGTH_SHIFT)
    return table


@compiled
def _write_head(lengths, words):  # type: ignore[no-untyped-def]
    """Write the head of a final block with dynamic codes (RFC 1951, 3.2.7); return the bit offset of the data."""
    length_lengths = np.zeros(19, np.int64)
    length_lengths[:15] = 4
    length_lengths[15] = length_lengths[RUN] = 5
    length_codes = make_codes(length_lengths)
    bit = _append(words, 0, 1 | 2 << 1, 3)
    # 257 literals, 2 distances, 19 code lengths; distances are unused, but some readers require a complete code
    bit = _append(words, bit, 0 | 1 << 5 | 15 << 10, 14)
    for symbol in LENGTH_ORDER:
        bit = _append(words, bit, length_lengths[symbol], 3)
    symbol = 0
    while symbol < SYMBOLS:
        zeros = 0
        while symbol + zeros < SYMBOLS and lengths[symbol + zeros] == 0 and zeros < _RUN_MAX:
            zeros += 1
        if zeros >= RUN_MIN:
            bit = _append(words, bit, length_codes[RUN], length_lengths[RUN])
            bit = _append(words, bit, zeros - RUN_MIN, 7)
            symbol += zeros
        else:
            length = lengths[symbol]
            bit = _append(words, bit, length_codes[length], length_lengths[length])
            symbol += 1
    for _ in range(2):
        bit = _append(words, bit, length_codes[1], length_lengths[1])
    return bit
