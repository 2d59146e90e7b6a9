"""Encoders and decoders of general libraries: options reach them, and no stream writes anything beside its strip."""

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cryofs.codecs import deflate as codecs_deflate
from cryofs.codecs import predictor, uncompressed
from cryofs.errors import DamagedError

GUARD = 64
FLOATS = np.random.default_rng(1).normal(1, 0.1, (64, 64)).astype(np.float32)


def inflated(stream: bytes, size: int) -> bytes:
    """Bytes that a stream decodes to; asserts that nothing beside them was written."""
    memory = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    try:
        codecs_deflate.inflate(stream, memory[GUARD:-GUARD])
    finally:
        assert (memory[:GUARD] == 0xA5).all()
        assert (memory[-GUARD:] == 0xA5).all()
    return memory[GUARD:-GUARD].tobytes()


def test_strategies_and_levels_reach_the_encoder() -> None:
    counts = np.random.default_rng(0).poisson(1.4, (256, 256)).astype(np.uint8)

    def size(strip: NDArray[Any], **options: Any) -> int:
        return len(codecs_deflate.encode_deflate(strip, **options))

    assert size(counts, strategy="huffman") < size(counts, strategy="default")
    assert size(counts, level=9) < size(counts, level=1) < size(counts, level=0)
    sparse = (counts > 6).astype(np.uint8)
    assert size(sparse, strategy="rle") < size(sparse, strategy="huffman")
    assert len(codecs_deflate.encode_float_deflate(FLOATS, level=6)) < len(
        codecs_deflate.encode_float_deflate(FLOATS, level=0)
    )


def test_the_predictor_pays_on_floats() -> None:
    assert len(codecs_deflate.encode_float_deflate(FLOATS, level=6)) < len(
        codecs_deflate.encode_deflate(FLOATS, level=6)
    )


@given(arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 20))))
def test_a_block_becomes_a_zlib_stream(strip: NDArray[np.uint16]) -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = deflate.compress(strip.tobytes()) + deflate.flush()
    assert zlib.decompress(codecs_deflate.zlib_stream(block, strip)) == strip.tobytes()


@given(st.binary(min_size=1, max_size=300), st.integers(0, 9))
def test_streams_of_zlib_are_inflated(data: bytes, level: int) -> None:
    assert inflated(zlib.compress(data, level), len(data)) == data


@given(st.binary(min_size=2, max_size=300), st.integers(-299, 20).filter(bool))
@example(b"ab", 1)
@example(b"ab", -1)
def test_streams_of_another_size_are_damaged(data: bytes, more: int) -> None:
    with pytest.raises(DamagedError):
        inflated(zlib.compress(data), max(len(data) + more, 1))


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_changed_sum_is_damaged(data: bytes, draw: st.DataObject) -> None:
    stream = bytearray(zlib.compress(data))
    stream[-draw.draw(st.integers(1, 4))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(DamagedError):
        inflated(bytes(stream), len(data))


@settings(max_examples=300)
@given(st.sampled_from([b"", b"\x78\x01", b"\x78\x9c"]), st.binary(max_size=200), st.integers(1, 300))
def test_what_zlib_refuses_is_damaged(head: bytes, body: bytes, size: int) -> None:
    inflate = zlib.decompressobj()
    try:
        whole = len(inflate.decompress(head + body)) == size and inflate.eof
    except zlib.error:
        whole = False
    if not whole:
        with pytest.raises(DamagedError):
            inflated(head + body, size)


@given(st.binary(min_size=2, max_size=20), st.integers(-2, 2))
def test_plain_strips_have_one_size(data: bytes, more: int) -> None:
    flat = np.zeros(len(data) + more, np.uint8)
    if more == 0:
        uncompressed.copy_bytes(data, flat)
        assert flat.tobytes() == data
    else:
        with pytest.raises(DamagedError):
            uncompressed.copy_bytes(data, flat)


@given(arrays(np.uint32, st.tuples(st.integers(1, 6), st.integers(1, 20))))
def test_the_predictor_is_undone(bits: NDArray[np.uint32]) -> None:
    floats = bits.view(np.float32)
    out = np.frombuffer(bytearray(zlib.decompress(codecs_deflate.encode_float_deflate(floats, level=1))), np.float32)
    out = out.reshape(bits.shape)
    predictor.undo_predictor("none", out)
    # TIFF 6.0 supplement 3: bytes of equal weight together, the highest first, then differences
    planes = np.cumsum(out.view(np.uint8).reshape(len(bits), -1), axis=1, dtype=np.uint8)
    assert planes.tobytes() == bits.astype(">u4").view(np.uint8).reshape(*bits.shape, 4).transpose(0, 2, 1).tobytes()
    predictor.undo_predictor("float", out)
    assert out.tobytes() == floats.tobytes()
