"""Blocks of literals: every inflate gives back the bytes, and no code of the strip is longer or dearer than need be."""

import heapq
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from cryofs.codecs import huffman_encoder

# Head of a block (RFC 1951, 3.2.7): 17 bits, 19 times 3, at most 5 for each of 259 lengths, and the last byte.
HEAD_BYTES = (17 + 19 * 3 + 259 * 5) // 8 + 1
# Huffman's own method knows no limit of 15 bits.
LIMIT_COST = 1e-3
# zlib-ng makes a new code every so many bytes
NG_BLOCK = 32767


def as_bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(data), np.uint8)


def whole(inflate: Any, stream: bytes) -> bytes:
    """All that a stream holds; asserts that it ends where it should."""
    data: bytes = inflate.decompress(stream)
    assert inflate.eof
    assert inflate.unused_data == b""
    return data


INFLATES: dict[str, Callable[[bytes, int], bytes]] = {
    "zlib": lambda stream, size: whole(zlib.decompressobj(wbits=-15), stream),
    "isal": lambda stream, size: whole(isal_zlib.decompressobj(wbits=-15), stream),
    "zlib-ng": lambda stream, size: whole(zlib_ng.decompressobj(wbits=-15), stream),
    # room for a byte more, so that a longer block is noticed
    "libdeflate": lambda stream, size: bytes(imagecodecs.deflate_decode(stream, raw=True, out=size + 1)),
}


def check(data: NDArray[np.uint8]) -> int:
    """Assert that every inflate gives back the data; return the size of the block."""
    block = huffman_encoder.encode(data)
    for name, inflate in INFLATES.items():
        assert inflate(block, len(data)) == data.tobytes(), name
    return len(block)


def ng_size(data: NDArray[np.uint8]) -> int:
    deflate = zlib_ng.compressobj(level=6, wbits=-15, memLevel=9, strategy=zlib_ng.Z_HUFFMAN_ONLY)
    return len(deflate.compress(data.tobytes()) + deflate.flush())


def optimal_size(data: NDArray[np.uint8]) -> float:
    """Bytes of the data and the end of the block by Huffman's method, however long the codes."""
    weights = [*(int(count) for count in np.bincount(data, minlength=1) if count), 1]
    bits = 1 if len(weights) == 1 else 0
    heapq.heapify(weights)
    while len(weights) > 1:
        joined = heapq.heappop(weights) + heapq.heappop(weights)
        heapq.heappush(weights, joined)
        bits += joined
    return bits / 8


def longest_code(frequencies: list[int]) -> int:
    """Depth of Huffman's tree without a limit, the end of the block included."""
    nodes = [(frequency, 0) for frequency in [*frequencies, 1]]
    heapq.heapify(nodes)
    while len(nodes) > 1:
        (one, depth), (other, other_depth) = heapq.heappop(nodes), heapq.heappop(nodes)
        heapq.heappush(nodes, (one + other, max(depth, other_depth) + 1))
    return nodes[0][1]


def with_frequencies(frequencies: list[int], seed: int = 0) -> NDArray[np.uint8]:
    """Values in random order, each as often as its count."""
    data = np.repeat(np.arange(len(frequencies), dtype=np.uint8), frequencies)
    np.random.default_rng(seed).shuffle(data)
    return data


@st.composite
def drawn_at_random(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Values of any distribution, from one symbol to all, even or skewed; up to one block of zlib-ng."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    symbols = draw(st.integers(1, 256))
    skew = draw(st.sampled_from([0.003, 0.03, 0.3, 3.0, 100.0]))
    shares = rng.dirichlet(np.full(symbols, skew))
    size = draw(st.integers(1, 300) | st.integers(1, NG_BLOCK))
    return rng.permutation(256)[rng.choice(symbols, size, p=shares)].astype(np.uint8)


ANY_DATA = st.binary(max_size=600).map(as_bytes) | drawn_at_random()


@settings(max_examples=400)
@given(ANY_DATA)
@example(as_bytes(b""))
@example(as_bytes(b"\0"))
@example(as_bytes(b"\xff"))
@example(as_bytes(bytes(range(256))))
@example(as_bytes(bytes(range(255))))
@example(as_bytes(bytes(range(256)) * 7 + b"\x80"))
def test_any_bytes_come_back_and_cost_no_more_than_they_should(data: NDArray[np.uint8]) -> None:
    size = check(data)
    assert size <= (1 + LIMIT_COST) * optimal_size(data) + HEAD_BYTES
    assert size <= (1 + LIMIT_COST) * ng_size(data) + HEAD_BYTES


@pytest.mark.parametrize("value", [0, 1, 127, 255])
def test_any_length_of_one_value_comes_back(value: int) -> None:
    for length in range(70):
        size = check(np.full(length, value, np.uint8))
        assert size <= HEAD_BYTES + length // 8


@pytest.mark.parametrize("length", range(1, 70))
def test_every_length_of_few_bytes_comes_back(length: int) -> None:
    rng = np.random.default_rng(length)
    for symbols in (2, 3, 9, 256):
        check(rng.integers(0, symbols, length).astype(np.uint8))


def fibonacci(count: int) -> list[int]:
    """Frequencies that give the longest codes for their sum, with the end of the block, which is there once."""
    numbers = [1, 2]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:count]


@pytest.mark.parametrize(
    "frequencies",
    [
        fibonacci(26),
        [2**power for power in range(18)],
        [3**power for power in range(12)] + [1] * 244,
        [1 << 20] + [1] * 255,
        [1 << 19, *fibonacci(20), *([1] * 235)],
    ],
    ids=["Fibonacci", "powers of 2", "powers of 3", "one and all others once", "mixed"],
)
def test_heavily_skewed_values_come_back(frequencies: list[int]) -> None:
    data = with_frequencies(frequencies)
    assert check(data) <= (1 + LIMIT_COST) * optimal_size(data) + HEAD_BYTES


@pytest.mark.parametrize("symbols", range(13, 25))
def test_codes_about_the_limit_of_15_bits(symbols: int) -> None:
    frequencies = fibonacci(symbols)
    assert longest_code(frequencies) == symbols
    data = with_frequencies(frequencies)
    assert check(data) <= (1 + LIMIT_COST) * optimal_size(data) + HEAD_BYTES


@pytest.mark.parametrize("order", [1, -1], ids=["rare first", "rare last"])
def test_the_longest_codes_side_by_side(order: int) -> None:
    data = np.sort(with_frequencies([2**power for power in range(18)]))[::order]
    check(np.ascontiguousarray(data))


@pytest.mark.parametrize("mean", [0, 0.02, 0.5, 1.4, 5, 20, 60])
def test_counts_are_no_larger_than_by_zlib_ng(mean: float) -> None:
    counts = np.random.default_rng(0).poisson(mean, 256 * 1919 + 1).astype(np.uint8)
    assert check(counts) <= ng_size(counts)


def test_the_same_bytes_give_the_same_block() -> None:
    data = np.random.default_rng(0).poisson(1.4, 1001).astype(np.uint8)
    assert huffman_encoder.encode(data) == huffman_encoder.encode(data.copy())
