"""LZW streams of other encoders are decoded, and damaged ones are refused; none writes anything beside its strip."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.codecs import lzw
from cryofs.errors import DamagedError

GUARD = 64
CLEAR, END, FIRST_FREE = 256, 257, 258


def decode(stream: bytes, size: int) -> bytes:
    """Bytes that a stream decodes to; asserts that nothing beside them was written."""
    memory = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    try:
        lzw.decode(stream, memory[GUARD : GUARD + size])
    finally:
        assert (memory[:GUARD] == 0xA5).all()
        assert (memory[GUARD + size :] == 0xA5).all()
    return memory[GUARD : GUARD + size].tobytes()


def refused(stream: bytes, size: int) -> bool:
    try:
        decode(stream, size)
    except DamagedError:
        return True
    return False


def packed(codes: list[int], width: int = 9) -> bytes:
    """Codes of one width, the highest bits first."""
    bits = "".join(f"{code:0{width}b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@st.composite
def strips(draw: st.DrawFn) -> bytes:
    """Values of any distribution and runs of them; short strips of any bytes, too."""
    if draw(st.booleans()):
        return draw(st.binary(min_size=1, max_size=400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    symbols = draw(st.integers(1, 256))
    values = rng.choice(symbols, draw(st.integers(1, 30000)), p=rng.dirichlet(np.full(symbols, 0.1)))
    if draw(st.booleans()):
        values = np.repeat(values, rng.geometric(draw(st.sampled_from([0.5, 0.05, 0.005])), len(values)))[:60000]
    return values.astype(np.uint8).tobytes()


ENCODERS = {
    "general": lambda data: bytes(imagecodecs.lzw_encode(data)),
    "for small counts": lambda data: lzw.encode(np.frombuffer(bytearray(data), np.uint8)),
}
encoders = st.sampled_from(sorted(ENCODERS))


@settings(max_examples=400)
@given(strips(), encoders)
@example(b"\0", "general")
@example(bytes(100_000), "general")
@example(b"ab" * 50_000, "general")
@example(bytes(range(17)) * 3000, "general")
def test_streams_of_any_encoder_are_decoded(data: bytes, encoder: str) -> None:
    assert decode(ENCODERS[encoder](data), len(data)) == data


@pytest.mark.parametrize("period", range(1, 40))
def test_copies_of_any_distance_and_length(period: int) -> None:
    pattern = np.random.default_rng(period).integers(0, 256, period)
    for length in [*range(1, 130), 1000, 5003]:
        data = np.resize(pattern, length).astype(np.uint8).tobytes()
        assert decode(bytes(imagecodecs.lzw_encode(data)), length) == data


@pytest.mark.parametrize("codes", [256, 766, 1790, 3835, 3836, 3837, 3838, 7672])
def test_a_strip_may_end_at_any_code(codes: int) -> None:
    rng = np.random.default_rng(0)
    for length in range(codes - 6, codes + 7):
        data = rng.integers(0, 256, length).astype(np.uint8).tobytes()
        assert decode(bytes(imagecodecs.lzw_encode(data)), length) == data


@settings(max_examples=200)
@given(strips(), encoders, st.integers(-70000, 70).filter(bool))
@example(b"ab", "general", 1)
@example(b"ab", "general", -1)
@example(bytes(5000), "general", 1)
@example(bytes(5000), "general", -1)
def test_a_strip_of_another_size_is_damaged(data: bytes, encoder: str, more: int) -> None:
    assert max(len(data) + more, 0) == len(data) or refused(ENCODERS[encoder](data), max(len(data) + more, 0))


@given(strips(), encoders, st.data())
def test_a_truncated_stream_is_damaged(data: bytes, encoder: str, draw: st.DataObject) -> None:
    stream = ENCODERS[encoder](data)
    # the last byte may hold no more than filling bits, two hold some of the end
    length = draw.draw(st.integers(0, len(stream) - 2))
    assert refused(stream[:length], len(data))


@settings(max_examples=600)
@given(strips(), encoders, st.data())
def test_flipped_bits_do_no_harm(data: bytes, encoder: str, draw: st.DataObject) -> None:
    stream = bytearray(ENCODERS[encoder](data))
    for _ in range(draw.draw(st.integers(1, 3))):
        stream[draw.draw(st.integers(0, len(stream) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    refused(bytes(stream), len(data))


@settings(max_examples=600)
@given(st.sampled_from([b"", b"\x80", b"\x80\x00"]), st.binary(max_size=400), st.integers(0, 5000))
def test_random_bytes_do_no_harm(head: bytes, body: bytes, size: int) -> None:
    refused(head + body, size)


@settings(max_examples=600)
@given(st.lists(st.integers(0, 300), max_size=250), st.integers(0, 600))
def test_random_codes_do_no_harm(codes: list[int], size: int) -> None:
    refused(packed([CLEAR, *codes, END]), size)


@pytest.mark.parametrize("seed", range(20))
def test_long_random_streams_do_no_harm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for size in (1, 1000, 1 << 20):
        refused(b"\x80" + rng.bytes(30000), size)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([CLEAR, 1, 2, END], [1, 2]),
        ([1, 2, END], [1, 2]),
        ([CLEAR, 1, FIRST_FREE, END], [1, 1, 1]),
        ([CLEAR, 1, 2, FIRST_FREE, FIRST_FREE + 1, END], [1, 2, 1, 2, 2, 1]),
        ([CLEAR, 1, CLEAR, 2, END], [1, 2]),
        ([CLEAR, 1, 2, FIRST_FREE, CLEAR, 3, FIRST_FREE, END], [1, 2, 1, 2, 3, 3, 3]),
        ([CLEAR, CLEAR, 7, END], [7]),
        ([CLEAR, END], []),
    ],
    ids=str,
)
def test_streams_written_out(codes: list[int], expected: list[int]) -> None:
    assert decode(packed(codes), len(expected)) == bytes(expected)


@pytest.mark.parametrize(
    "codes",
    [
        [CLEAR, FIRST_FREE, END],
        [CLEAR, 1, FIRST_FREE + 1, END],
        [CLEAR, 1, 2, FIRST_FREE + 2, END],
        [CLEAR, 1, 2, 3, CLEAR, FIRST_FREE, END],
        [CLEAR, 1, 2, 3, CLEAR, 4, FIRST_FREE + 1, END],
        [CLEAR, 1, 511, END],
        [CLEAR, 1],
        [CLEAR],
        [],
    ],
    ids=str,
)
def test_codes_without_a_string_are_damaged(codes: list[int]) -> None:
    stream = packed(codes) if codes else b""
    assert all(refused(stream, size) for size in range(12))


@pytest.mark.skipif(shutil.which("tiffcp") is None, reason="tiffcp is not installed (Debian: libtiff-tools)")
@pytest.mark.parametrize("mean", [0.02, 1.0, 60.0, 1e6])
def test_streams_of_libtiff_are_decoded(tmp_path: Path, mean: float) -> None:
    page: NDArray[np.uint8] = (np.random.default_rng(0).poisson(mean, (300, 257)) & 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "plain.tif", page)
    subprocess.run(
        ["tiffcp", "-c", "lzw:1", "-r", "128", tmp_path / "plain.tif", tmp_path / "lzw.tif"], check=True, timeout=60
    )
    data = (tmp_path / "lzw.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "lzw.tif") as tiff:
        first: Any = tiff.pages[0]
        assert int(first.compression) == 5
        places = list(zip(first.dataoffsets, first.databytecounts, strict=True))
    for number, (offset, count) in enumerate(places):
        rows = page[128 * number : 128 * (number + 1)]
        assert decode(data[offset : offset + count], rows.size) == rows.tobytes()
