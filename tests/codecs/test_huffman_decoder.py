"""Decoding blocks of literals: what inflate gives, or nothing; and whatever the streams, no byte beside the strips."""

import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.codecs import deflate as codecs_deflate
from cryofs.codecs import huffman_decoder, huffman_encoder

GUARD = 64
FILL = 0xA5


def stream_of(data: NDArray[np.uint8]) -> bytes:
    return codecs_deflate.zlib_stream(huffman_encoder.encode(data), data)


def decode(streams: list[bytes], sizes: list[int]) -> list[bytes | None]:
    """Decoded strips, None where one was not decoded; asserts that nothing beside them was written."""
    memory = [np.full(size + 2 * GUARD, FILL, np.uint8) for size in sizes]
    done = huffman_decoder.decode(streams, [whole[GUARD : len(whole) - GUARD] for whole in memory])
    for whole in memory:
        assert (whole[:GUARD] == FILL).all()
        assert (whole[len(whole) - GUARD :] == FILL).all()
    return [whole[GUARD:-GUARD].tobytes() if good else None for whole, good in zip(memory, done, strict=True)]


def poisson(mean: float, size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.minimum(np.random.default_rng(seed).poisson(mean, size), 255).astype(np.uint8)


STRIPS = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.builds(
        lambda mean, size, seed: poisson(mean, size, seed).tobytes(),
        st.floats(0, 60),
        st.integers(1, 5000),
        st.integers(0, 9),
    ),
)


@settings(max_examples=300)
@given(st.lists(STRIPS, min_size=1, max_size=5))
@example([bytes(1)])
@example([bytes(range(256)) * 3, b"\0" * 100_000])
def test_strips_come_back_whoever_is_decoded_beside_them(strips: list[bytes]) -> None:
    streams = [stream_of(np.frombuffer(strip, np.uint8)) for strip in strips]
    assert decode(streams, [len(strip) for strip in strips]) == strips


def test_codes_longer_than_what_is_looked_up() -> None:
    # frequencies of powers of two give codes of 1 to 15 bits
    data = np.repeat(np.arange(18, dtype=np.uint8), [1 << exponent for exponent in range(17, -1, -1)])
    np.random.default_rng(3).shuffle(data)
    assert decode([stream_of(data), stream_of(data[::-1].copy())], [len(data)] * 2) == [
        data.tobytes(),
        data[::-1].tobytes(),
    ]


@pytest.mark.parametrize("mean", [0.02, 1.4, 30])
def test_one_block_of_literals_of_another_encoder(mean: float) -> None:
    data = poisson(mean, 3000)
    deflate = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    stream = deflate.compress(data.tobytes()) + deflate.flush()
    assert decode([stream], [len(data)]) == [data.tobytes()]


@pytest.mark.parametrize(
    "stream",
    [
        zlib.compress(bytes(3000)),  # copies
        zlib.compress(bytes(3000), 0),  # stored
        zlib.compress(b"a"),  # fixed codes
        b"",
        b"\x78\x01",
    ],
    ids=["copies", "stored", "fixed", "empty", "head"],
)
def test_other_kinds_are_left_to_others(stream: bytes) -> None:
    counts = poisson(1.4, 3000)
    assert decode([stream, stream_of(counts)], [3000, 3000]) == [None, counts.tobytes()]


@pytest.mark.parametrize("size", [1, 2999, 3001, 10_000])
def test_a_strip_of_another_size_is_not_decoded(size: int) -> None:
    counts = poisson(1.4, 3000)
    assert decode([stream_of(counts)], [size]) == [None]


def test_a_cut_stream_is_not_decoded() -> None:
    counts = poisson(1.4, 600)
    stream = stream_of(counts)
    for length in range(len(stream) - 4):
        assert decode([stream[:length]], [len(counts)]) == [None]


@settings(max_examples=500)
@given(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits_write_nothing_beside_the_strip(seed: int, flips: list[tuple[int, int]]) -> None:
    counts = poisson(1.4, 700, seed)
    stream = bytearray(stream_of(counts))
    for place, bit in flips:
        stream[2 + place % (len(stream) - 2)] ^= 1 << bit
    found, intact = decode([bytes(stream), stream_of(counts)], [len(counts)] * 2)
    assert found is None or len(found) == len(counts)
    assert intact == counts.tobytes()


@settings(max_examples=500)
@given(st.binary(max_size=300), st.integers(1, 400))
def test_any_bytes_after_a_head_write_nothing_beside_the_strip(body: bytes, size: int) -> None:
    # code lengths at random are refused at once, so they are those of a stream
    stream = stream_of(poisson(1.4, 700))
    lengths = np.zeros(huffman_decoder._LENGTHS, np.int64)
    begin = huffman_decoder._read_lengths(np.frombuffer(stream, np.uint8), lengths)
    assert lengths.any()
    decode([stream[: begin // 8 + 1] + body], [size])
