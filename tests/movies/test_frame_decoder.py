"""Strips of every codec: each comes back bit by bit, and no stream writes anything beside it."""

import math
import tracemalloc
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.codecs import deflate, huffman_decoder
from cryofs.codecs.codec import Codec
from cryofs.codecs.predictor import Predictor
from cryofs.codecs.registry import codec_named
from cryofs.errors import DamagedError
from tests.strip_encodings import (
    DEFLATE,
    ENCODINGS,
    FLOAT_ENCODINGS,
    LZW,
    NOTHING,
    ONE_CODE,
    SPARSE_LZW,
    Encoding,
    encodings_of,
)

DTYPES = [np.dtype(name) for name in ("u1", "i1", "u2", "i2", "f4")]
GUARD = 64


@st.composite
def strips(draw: st.DrawFn) -> NDArray[Any]:
    """Strips of any bits."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 20)))
    size = math.prod(shape) * dtype.itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)


def decode(codec: Codec, data: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Decoded strip, with compiled code and without; asserts that nothing beside it was written."""
    size = math.prod(shape) * dtype.itemsize
    outs = []
    for compiled in (None, huffman_decoder.decode):
        memory = np.full(size + 2 * GUARD, 0xA5, np.uint8)
        outs.append(memory[GUARD:-GUARD].view(dtype).reshape(shape))
        try:
            with mock.patch.object(deflate, "_decode_literals", compiled):
                codec.decode([data], outs[-1:])
        finally:
            assert (memory[:GUARD] == 0xA5).all()
            assert (memory[-GUARD:] == 0xA5).all()
    assert outs[0].tobytes() == outs[1].tobytes()
    return outs[0]


@settings(max_examples=500)
@given(strips(), st.data())
def test_any_strip_comes_back(strip: NDArray[Any], data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(encodings_of(strip.dtype)))
    found = decode(encoding.codec, encoding.encode(strip), strip.shape, strip.dtype)
    assert found.tobytes() == strip.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mean", [0, 0.02, 1.4, 60, None], ids=lambda mean: f"mean {mean}")
def test_strips_of_usual_size_come_back(dtype: np.dtype[Any], mean: float | None) -> None:
    rng = np.random.default_rng(0)
    shape = (256, 383)
    if mean is None:  # incompressible
        strip = np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)
    else:
        strip = rng.poisson(mean, shape).astype(dtype)
    for encoding in encodings_of(dtype):
        found = decode(encoding.codec, encoding.encode(strip), shape, dtype)
        assert found.tobytes() == strip.tobytes(), encoding


@pytest.mark.parametrize("encoding", [*ENCODINGS, *FLOAT_ENCODINGS], ids=str)
def test_rows_of_a_larger_array_are_encoded_alone(encoding: Encoding) -> None:
    page = np.random.default_rng(0).poisson(1.4, (12, 33)).astype(np.float32)
    found = decode(encoding.codec, encoding.encode(page[4:9]), (5, 33), page.dtype)
    assert np.array_equal(found, page[4:9])


@pytest.mark.parametrize("encoding", [NOTHING, LZW, SPARSE_LZW, ONE_CODE, DEFLATE], ids=str)
@pytest.mark.parametrize("shape", [(9, 20), (11, 20), (10, 19), (10, 21), (1, 1)])
def test_a_strip_of_another_size_is_damaged(encoding: Encoding, shape: tuple[int, int]) -> None:
    strip = np.arange(200, dtype=np.uint8).reshape(10, 20)
    with pytest.raises(DamagedError):
        decode(encoding.codec, encoding.encode(strip), shape, strip.dtype)


@pytest.mark.parametrize("encoding", [*ENCODINGS, *FLOAT_ENCODINGS], ids=str)
def test_a_truncated_stream_is_damaged(encoding: Encoding) -> None:
    strip = np.random.default_rng(1).poisson(1.4, (8, 30)).astype(np.float32)
    data = encoding.encode(strip)
    for length in range(0, len(data) - 4, 7):
        with pytest.raises(DamagedError):
            decode(encoding.codec, data[:length], (8, 30), strip.dtype)


@pytest.mark.parametrize("encoding", [LZW, DEFLATE], ids=str)
def test_a_stream_cannot_claim_memory(encoding: Encoding) -> None:
    data = encoding.encode(np.zeros((1, 32 << 20), np.uint8))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError):
            decode(encoding.codec, data, (1, 10), np.dtype("u1"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def check_damaged(codec: Codec, data: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Whatever the stream, it is damaged, or gives a strip and touches nothing else."""
    try:
        decode(codec, data, shape, dtype)
    except DamagedError:
        return


@settings(max_examples=600)
@given(
    st.sampled_from(["none", "lzw", "deflate"]),
    st.sampled_from(DTYPES),
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    # a zlib header and LZW's clear code, so that decoders start at all
    st.sampled_from([b"", b"\x78\x9c", b"\x80"]),
    st.binary(max_size=200),
    st.booleans(),
)
def test_random_bytes_do_no_harm(
    compression: str, dtype: np.dtype[Any], shape: tuple[int, int], head: bytes, body: bytes, float_: bool
) -> None:
    predictor: Predictor = "float" if float_ and dtype.kind == "f" else "none"
    check_damaged(codec_named(compression, predictor), head + body, shape, dtype)


@settings(max_examples=600)
@given(strips(), st.data())
def test_flipped_bits_do_no_harm(strip: NDArray[Any], data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(encodings_of(strip.dtype)))
    stream = bytearray(encoding.encode(strip))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    check_damaged(encoding.codec, bytes(stream), strip.shape, strip.dtype)
