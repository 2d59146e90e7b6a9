"""LZW of counts: every reader gives back the bytes, wherever codes widen and the dictionary is cleared."""

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
from cryofs.codecs.registry import codec_named
from cryofs.formats.tiff_pages import PageLayout
from cryofs.formats.tiff_writer import TiffMovieWriter

SMALL = lzw.SMALL
CLEAR, END, FIRST_FREE = 256, 257, 258
# A dictionary takes so many codes until it is cleared.
FULL = 4094 - 258
# Other encoders clear a few codes earlier or later, after which their dictionaries are others.
SIZE_MARGIN = 0.02
SIZE_MARGIN_BYTES = 8


def as_bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(data), np.uint8)


def other_size(data: NDArray[np.uint8]) -> int:
    return len(imagecodecs.lzw_encode(data.tobytes()))


def check(data: NDArray[np.uint8]) -> int:
    """Assert that the data come back; return the size of the stream."""
    stream = lzw.encode(data)
    # room for a byte more, so that a longer stream is noticed
    assert bytes(imagecodecs.lzw_decode(stream, out=len(data) + 1)) == data.tobytes()
    found = np.empty_like(data)
    lzw.decode(stream, found)
    assert found.tobytes() == data.tobytes()
    return len(stream)


def check_small(data: NDArray[np.uint8]) -> None:
    """The same for data of small values, which are to be as small as by other encoders."""
    assert check(data) <= (1 + SIZE_MARGIN) * other_size(data) + SIZE_MARGIN_BYTES


def plain_codes(data: bytes) -> list[int]:
    """Codes as TIFF 6.0 has them, by a dictionary of strings; longest strings, cleared as soon as it is full."""
    codes, string = [CLEAR], b""
    entries: dict[bytes, int] = {}
    for value in data:
        if not string or string + bytes([value]) in entries:
            string += bytes([value])
            continue
        codes.append(entries.get(string, string[0]))
        entries[string + bytes([value])] = FIRST_FREE + len(entries)
        if len(entries) == FULL:
            codes.append(CLEAR)
            entries.clear()
        string = bytes([value])
    return [*codes, entries.get(string, string[0])]


def codes_of(stream: bytes) -> list[int]:
    """Codes of a stream, without the end."""
    bits, width, free = "".join(f"{byte:08b}" for byte in stream), 9, FIRST_FREE - 1
    codes, place = [], 0
    while (code := int(bits[place : place + width], 2)) != END:
        codes.append(code)
        place += width
        free = FIRST_FREE - 1 if code == CLEAR else free + 1
        width = 9 if code == CLEAR else max(width, min((free + 1).bit_length(), 12))
    return codes


def longest(values: int) -> int:
    """Bytes of a stream with a code for every value: 12 bits for each, each clear and the end."""
    return (12 * (values + values // FULL + 3) + 7) // 8


@st.composite
def counts(draw: st.DrawFn, top: int) -> NDArray[np.uint8]:
    """Values up to `top` of any distribution, random ones and runs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = rng.dirichlet(np.full(top + 1, draw(st.sampled_from([0.01, 0.1, 1.0, 10.0]))))
    size = draw(st.integers(1, 100) | st.integers(1, 40000))
    values = rng.choice(top + 1, size, p=shares)
    if draw(st.booleans()):
        values = np.repeat(values, rng.geometric(draw(st.sampled_from([0.5, 0.1, 0.01])), size))[:60000]
    return values.astype(np.uint8)


@settings(max_examples=300)
@given(counts(SMALL - 1) | st.binary(min_size=1, max_size=300).map(lambda data: as_bytes(data) % SMALL))
@example(as_bytes(b"\0"))
@example(as_bytes(bytes([SMALL - 1])))
def test_small_values_come_back_as_small_as_by_other_encoders(data: NDArray[np.uint8]) -> None:
    check_small(data)


@settings(max_examples=300)
@given(counts(255) | counts(2 * SMALL) | st.binary(min_size=1, max_size=300).map(as_bytes))
@example(as_bytes(b"\xff"))
@example(as_bytes(bytes(range(256))))
@example(as_bytes(bytes([SMALL - 1, SMALL] * 9000)))
def test_any_values_come_back(data: NDArray[np.uint8]) -> None:
    assert check(data) <= longest(len(data))


@pytest.mark.parametrize("mean", [0.001, 0.02, 0.1, 0.3])
def test_sparse_counts_are_as_small_as_by_other_encoders(mean: float) -> None:
    data = np.random.default_rng(0).poisson(mean, 1024 * 511).astype(np.uint8)
    assert check(data) <= 1.001 * other_size(data)


# the widths change at 512, 1024 and 2048 entries; the second dictionary is like the first
WIDENINGS = [256, 766, 1790, FULL, FULL + 256, FULL + 766, FULL + 1790, 2 * FULL, 3 * FULL]


@pytest.mark.parametrize("codes", WIDENINGS)
def test_a_strip_may_end_at_any_code(codes: int) -> None:
    rng = np.random.default_rng(0)
    for length in range(codes - 6, codes + 7):
        # a large value is a code of its own
        check(rng.integers(SMALL, 256, length).astype(np.uint8))


@pytest.mark.parametrize("codes", WIDENINGS)
def test_a_strip_may_end_in_a_string_at_any_code(codes: int) -> None:
    rng = np.random.default_rng(0)
    for length in range(codes - 6, codes + 7):
        data = np.append(rng.integers(SMALL, 256, length), [1, 2, 1, 2, 1]).astype(np.uint8)
        for end in range(length + 1, length + 6):
            check(data[:end].copy())


@pytest.mark.parametrize("mean", [0, 0.0003, 0.005, 0.1, 0.7, 2])
def test_every_string_is_the_longest_that_is_known(mean: float) -> None:
    values = np.random.default_rng(4).poisson(mean, 150_000 if mean < 0.05 else 40_000)
    data = np.minimum(values, SMALL - 1).astype(np.uint8)
    assert codes_of(lzw.encode(data)) == plain_codes(data.tobytes())


def entries_before_clears(stream: bytes) -> list[int]:
    """How many strings the dictionary held at each clear and at the end, as TIFF 6.0 counts them."""
    bits = "".join(f"{byte:08b}" for byte in stream)
    found: list[int] = []
    place, width, entries, fresh = 0, 9, FIRST_FREE, True
    while True:
        code = int(bits[place : place + width], 2)
        place += width
        if code in (CLEAR, END):
            found.append(entries)
            if code == END:
                assert len(bits) - place < 8
                return found
            width, entries, fresh = 9, FIRST_FREE, True
            continue
        # the first code after a clear makes no string
        entries += not fresh
        fresh = False
        width = min(max(9, (entries + 1).bit_length()), 12)


@pytest.mark.parametrize("length", [1, 100, FULL - 1, FULL, FULL + 1, FULL + 100, 3 * FULL + 7])
@pytest.mark.parametrize("mean", [0.02, 1.0, 60.0])
def test_the_dictionary_never_grows_beyond_what_tiff_allows(length: int, mean: float) -> None:
    data = np.random.default_rng(0).poisson(mean, length).astype(np.uint8)
    assert max(entries_before_clears(lzw.encode(data))) <= 4094
    codes = np.random.default_rng(0).integers(SMALL, 256, length).astype(np.uint8)
    first, *clears, _ = entries_before_clears(lzw.encode(codes))
    assert first == FIRST_FREE, "a stream begins with a clear"
    assert clears == [4093] * (length // FULL), "cleared as soon as it is full"


@pytest.mark.parametrize("value", range(SMALL + 2))
def test_runs_of_any_length_come_back(value: int) -> None:
    for length in [*range(1, 400), 4095, 4096, 4097, 100_003]:
        data = np.full(length, value, np.uint8)
        if value < SMALL:
            check_small(data)
        else:
            assert check(data) <= longest(length)


def test_a_run_that_fills_several_dictionaries() -> None:
    # strings grow by one, so that a dictionary holds some seven million zeros
    data = np.zeros(20_000_000, np.uint8)
    size = check(data)
    assert size > 2 * FULL * 11 // 8
    assert size <= 1.01 * other_size(data)


def test_strings_of_one_dictionary_mean_nothing_in_the_next() -> None:
    rng = np.random.default_rng(0)
    parts = [np.tile(rng.integers(0, SMALL, 50), 60) for _ in range(4)]
    fill = rng.integers(SMALL, 256, FULL)
    check(np.concatenate([piece for part in parts for piece in (part, fill, part)]).astype(np.uint8))


needs_libtiff = pytest.mark.skipif(
    shutil.which("tiffcp") is None, reason="tiffcp is not installed (Debian: libtiff-tools)"
)


def check_readers(folder: Path, page: NDArray[Any], rows: int) -> None:
    """Assert that libtiff, which finds nothing to complain about, and tifffile read a page of LZW strips."""
    ny, nx = page.shape
    layout = PageLayout(ny, nx, page.dtype, codec_named("lzw"), rows, None)
    encoded, plain = folder / "lzw.tif", folder / "plain.tif"
    with (
        encoded.open("w+b") as file,
        TiffMovieWriter(file, layout, big=False, description="a movie", software="test") as writer,
    ):
        strips = [page[top : top + rows] for top in range(0, len(page), rows)]
        writer.write_page([lzw.encode(strip.reshape(-1).view(np.uint8)) for strip in strips])
    done = subprocess.run(["tiffcp", "-c", "none", encoded, plain], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert np.array_equal(tifffile.imread(plain), page)
    assert np.array_equal(tifffile.imread(encoded), page)


@needs_libtiff
@pytest.mark.parametrize("mean", [0.02, 1.0, 60.0])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_libtiff_and_tifffile_read_the_same(tmp_path: Path, mean: float, dtype: str) -> None:
    check_readers(tmp_path, np.random.default_rng(0).poisson(mean, (300, 257)).astype(dtype), 128)


@needs_libtiff
@pytest.mark.parametrize("codes", WIDENINGS)
def test_libtiff_reads_strips_that_end_at_any_code(tmp_path: Path, codes: int) -> None:
    page = np.random.default_rng(0).integers(SMALL, 256, (SMALL + 1, codes + 5)).astype(np.uint8)
    for row in range(SMALL + 1):
        for value in range(row):
            # three equal small values are two codes, so each row has one code less than the one before
            page[row, 4 * value : 4 * value + 3] = value
    check_readers(tmp_path, page, 1)
