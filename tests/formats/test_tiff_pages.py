"""TIFF movies: other readers read the pixels and the pixel size, and the index locates the strips."""

import contextlib
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec
from cryofs.codecs.registry import codec_named
from cryofs.errors import DamagedError
from cryofs.formats.tiff_pages import WORK_ROWS, PageLayout, read_pages
from cryofs.formats.tiff_writer import TiffMovieWriter
from tests.strip_encodings import DEFLATE, FLOAT_ENCODINGS, HUFFMAN, LZW, NOTHING, ONE_CODE, RLE, SPARSE_LZW, Encoding

ENCODINGS_OF_COUNTS = [NOTHING, LZW, SPARSE_LZW, DEFLATE, HUFFMAN, RLE, ONE_CODE]
# TIFF has predictors only for compressed pixels
ENCODINGS_OF_FLOATS = [*ENCODINGS_OF_COUNTS, *(one for one in FLOAT_ENCODINGS if one.codec.compression != "none")]
BYTES = np.dtype("u1")
# rows, columns, rows per strip: single pixels, odd widths, line by line, a last strip with fewer rows, one strip
SHAPES = [(1, 1, 1), (7, 5, 7), (9, 13, 1), (10, 33, 4), (300, 17, 256), (1, 9, 1)]


def make_layout(ny: int, nx: int, rows: int, codec: Codec = NOTHING.codec, dtype: np.dtype[Any] = BYTES) -> PageLayout:
    return PageLayout(ny, nx, dtype, codec, rows, 1.06)


def strips_of(page: NDArray[Any], layout: PageLayout, encoding: Encoding = NOTHING) -> list[bytes]:
    assert encoding.codec == layout.codec
    step = layout.rows_per_strip
    return [encoding.encode(page[top : top + step]) for top in range(0, layout.ny, step)]


def write(
    path: Path,
    layout: PageLayout,
    pages: Sequence[NDArray[Any]],
    encoding: Encoding = NOTHING,
    *,
    big: bool = False,
) -> list[int]:
    """Write a movie; return the offsets of its pages as reported by the writer."""
    with (
        path.open("w+b") as file,
        TiffMovieWriter(file, layout, big=big, description="a movie", software="test") as writer,
    ):
        return [writer.write_page(strips_of(page, layout, encoding)) for page in pages]


def whole_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    return [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]


def some_pages(layout: PageLayout, count: int = 3) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [rng.poisson(9, (layout.ny, layout.nx)).astype(layout.dtype) for _ in range(count)]


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4"])
def test_tifffile_reads_what_was_written(tmp_path: Path, shape: tuple[int, int, int], dtype: str, big: bool) -> None:
    path = tmp_path / "movie.tif"
    for encoding in ENCODINGS_OF_FLOATS if dtype == "f4" else ENCODINGS_OF_COUNTS:
        layout = make_layout(*shape, encoding.codec, np.dtype(dtype))
        pages = some_pages(layout)
        write(path, layout, pages, encoding, big=big)
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff == big
            assert len(tiff.pages) == len(pages)
            for found, page in zip(tiff.pages, pages, strict=True):
                values: Any = found.asarray()
                assert values.dtype == layout.dtype
                assert np.array_equal(values, page), encoding


def test_every_page_has_the_pixel_size(tmp_path: Path) -> None:
    layout = make_layout(4, 5, 2)
    write(tmp_path / "movie.tif", layout, some_pages(layout))
    with tifffile.TiffFile(tmp_path / "movie.tif") as tiff:
        for page in whole_pages(tiff):
            numerator, denominator = page.tags["XResolution"].value
            assert 1e8 / (numerator / denominator) == pytest.approx(1.06)
            assert page.tags["YResolution"].value == (numerator, denominator)
            assert page.tags["ResolutionUnit"].value == 3, "centimetres, the one unit that RELION reads"


def test_an_unknown_pixel_size_is_not_written(tmp_path: Path) -> None:
    layout = replace(make_layout(4, 5, 2), pixel_size=None)
    write(tmp_path / "movie.tif", layout, some_pages(layout))
    with tifffile.TiffFile(tmp_path / "movie.tif") as tiff:
        assert whole_pages(tiff)[0].tags["ResolutionUnit"].value == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(1e-45, 3e38, exclude_min=True))
@example(1e-10)  # of a header in metres
def test_any_pixel_size_of_a_header_can_be_written(tmp_path: Path, pixel_size: float) -> None:
    layout = replace(make_layout(1, 1, 1), pixel_size=pixel_size)
    write(tmp_path / "movie.tif", layout, some_pages(layout))
    assert len(read_pages(tmp_path / "movie.tif", layout, 3)) == 3


def test_only_the_first_page_has_a_description(tmp_path: Path) -> None:
    layout = make_layout(64, 64, 8)
    path = tmp_path / "movie.tif"
    write(path, layout, some_pages(layout))
    with tifffile.TiffFile(path) as tiff:
        first, *later = whole_pages(tiff)
        assert first.description == "a movie"
        assert first.software == "test"
        for page in later:
            assert "ImageDescription" not in page.tags
            assert "Software" not in page.tags
    assert b"a movie" in path.read_bytes()[:4096]


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_index_finds_the_strips(tmp_path: Path, shape: tuple[int, int, int], big: bool) -> None:
    path = tmp_path / "movie.tif"
    layout = make_layout(*shape, LZW.codec, np.dtype("u2"))
    pages = some_pages(layout)
    starts = write(path, layout, pages, LZW, big=big)
    data = path.read_bytes()
    index = read_pages(path, layout, 3)
    with tifffile.TiffFile(path) as tiff:
        assert [page.lists() for page in index] == [
            (list(page.dataoffsets), list(page.databytecounts)) for page in tiff.pages
        ]
    for start, found, page in zip(starts, index, pages, strict=True):
        offsets, byte_counts = found.lists()
        places = zip(offsets, byte_counts, strict=True)
        assert [data[offset : offset + count] for offset, count in places] == strips_of(page, layout, LZW)
        assert offsets == list(accumulate(byte_counts[:-1], initial=start)), "one strip behind another"


@pytest.mark.parametrize(
    "change",
    [
        {"ny": 11},
        {"nx": 32},
        {"dtype": np.dtype("i2")},
        {"codec": codec_named("deflate")},
        {"codec": codec_named("lzw", "float")},
        {"rows_per_strip": 5},
    ],
    ids=str,
)
def test_pages_of_another_layout_are_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "movie.tif"
    layout = make_layout(10, 33, 4, LZW.codec, np.dtype("u2"))
    write(path, layout, some_pages(layout), LZW)
    with pytest.raises(DamagedError, match=r"movie\.tif"):
        read_pages(path, replace(layout, **change), 3)


def test_a_tag_of_many_values_gives_a_short_message(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    layout = make_layout(90, 80, 30, LZW.codec, np.dtype("u2"))
    write(path, layout, some_pages(layout), LZW)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].aspage().tags["ImageWidth"].offset
    struct.pack_into("<HHII", data, place, 256, 3, 900, 8)
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"damaged TIFF pages \(invalid tag 256") as caught:
        read_pages(path, layout, 3)
    assert len(str(caught.value)) < 1000


def test_a_single_page_of_another_layout_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    layout = make_layout(4, 5, 4)
    (page,) = some_pages(layout, 1)
    with tifffile.TiffWriter(path) as writer:
        for values in (page, page, page.astype(np.float32)):
            writer.write(values, metadata=None)
    with pytest.raises(DamagedError, match=r"movie\.tif, frame 2"):
        read_pages(path, layout, 3)


@pytest.mark.parametrize("target", [0, 1, 2], ids=["the first", "the second", "itself"])
def test_a_circular_chain_of_directories_terminates(tmp_path: Path, target: int) -> None:
    path = tmp_path / "movie.tif"
    layout = make_layout(4, 5, 4)
    write(path, layout, some_pages(layout))
    with tifffile.TiffFile(path) as tiff:
        places = [page.offset for page in tiff.pages]
    content = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", content, places[-1])
    struct.pack_into("<I", content, places[-1] + 2 + 12 * entries, places[target])
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"movie\.tif: damaged TIFF pages \(circular chain"):
        read_pages(path, layout, 3)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_wrong_number_of_pages(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "movie.tif"
    layout = make_layout(4, 5, 4)
    write(path, layout, some_pages(layout))
    with pytest.raises(DamagedError, match=rf"TIFF pages \(expected {frames}, got \w+\); restore"):
        read_pages(path, layout, frames)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"no TIFF at all", b"MM\0*\0\0\0\x08" + bytes(20), bytes(100)])
def test_not_a_tiff(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "movie.tif"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"movie\.tif"):
        read_pages(path, make_layout(4, 5, 2), 3)


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_directories_do_no_harm(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.tif"
    layout = make_layout(3, 2, 2)
    write(path, layout, some_pages(layout))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with contextlib.suppress(DamagedError):
        read_pages(path, layout, 3)


@given(st.integers(1, 5000), st.integers(1, 700))
@example(1, 1)
@example(256, 256)
@example(257, 256)
def test_strips_contain_every_row_once(ny: int, rows_per_strip: int) -> None:
    layout = make_layout(ny, 3, rows_per_strip)
    groups = layout.strip_groups()
    strips = [number for group in groups for number in group]
    assert strips == list(range(-(-ny // rows_per_strip)))

    # from the last row of the frame to its first
    end = ny
    for group in groups:
        rows = layout.frame_rows(group)
        assert rows.stop == end
        assert 0 < rows.stop - rows.start <= max(WORK_ROWS, rows_per_strip)
        for number in group:
            strip = layout.frame_rows(range(number, number + 1))
            assert strip.stop == end
            assert 0 < strip.stop - strip.start <= rows_per_strip
            end = strip.start
        assert rows.start == end
    assert end == 0


def test_strip_groups_are_as_large_as_possible() -> None:
    assert [len(group) for group in make_layout(500, 3, 1).strip_groups()] == [128, 128, 128, 116]


@pytest.mark.skipif(shutil.which("tiffinfo") is None, reason="tiffinfo is not installed (Debian: libtiff-tools)")
@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("encoding", ENCODINGS_OF_FLOATS, ids=str)
def test_libtiff_reads_movies_without_warnings(tmp_path: Path, encoding: Encoding, big: bool) -> None:
    layout = make_layout(10, 33, 4, encoding.codec, np.dtype("f4"))
    write(tmp_path / "movie.tif", layout, some_pages(layout), encoding, big=big)
    # -d reads the pixels too
    done = subprocess.run(["tiffinfo", "-d", tmp_path / "movie.tif"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("Image Width: 33 Image Length: 10") == 3


@given(st.integers(1, 3000), st.integers(1, 700), st.data())
def test_row_blocks_divide_a_frame(ny: int, rows_per_strip: int, data: st.DataObject) -> None:
    layout = make_layout(ny, 1, rows_per_strip)
    row = data.draw(st.integers(0, ny - 1))
    block = layout.row_block(row)
    if block is None:
        assert len(layout.strip_groups()) < 4 or ny < 769
        assert layout.row_block(0) is None
        return
    assert row in block
    assert len(block) <= max(128, rows_per_strip)
    assert layout.row_block(block.start) == layout.row_block(block.stop - 1) == block
    assert block.start == 0 or layout.row_block(block.start - 1) == range(
        layout.row_block(block.start - 1).start,  # type: ignore[union-attr]
        block.start,
    )
    strips = layout.strips_of(block)
    held = layout.frame_rows(strips)
    assert (held.start, held.stop) == (block.start, block.stop)
    assert strips in layout.strip_groups()


@given(st.integers(1, 300), st.integers(1, 90), st.integers(0, 300), st.integers(0, 300))
def test_rows_of_whole_strips_or_none(ny: int, rows_per_strip: int, start: int, stop: int) -> None:
    layout = make_layout(ny, 1, rows_per_strip)
    whole = {
        (rows.start, rows.stop): range(first, last)
        for first in range(layout.strips)
        for last in range(first + 1, layout.strips + 1)
        for rows in [layout.frame_rows(range(first, last))]
    }
    assert layout.strips_of(None) == range(layout.strips)
    if (start, stop) in whole:
        assert layout.strips_of(range(start, stop)) == whole[start, stop]
    else:
        with pytest.raises(ValueError, match="not whole strips"):
            layout.strips_of(range(start, stop))
