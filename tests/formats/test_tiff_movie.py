"""Malicious TIFF movies, made to be misread or to exhaust memory or time."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cryofs.errors import DamagedError
from cryofs.formats import tiff_movie
from cryofs.formats.tiff_layout import NoMovieError
from cryofs.formats.tiff_movie import TiffIndex
from tests import hostile
from tests.conftest import open_bytes
from tests.foreign import counts, write_tiff
from tests.hostile import SHORT


def index_of(data: bytes) -> TiffIndex:
    with open_bytes(data, "x.tif") as source:
        return tiff_movie.read_index(source)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (266, 3, "unsupported TIFF bit order"),
        (262, 3, "unsupported TIFF photometric interpretation"),
        (262, 2, "unsupported TIFF photometric interpretation"),
        (339, 4, "format 4"),
    ],
)
def test_tags_that_change_the_meaning_of_pixels(tag: int, value: int, message: str) -> None:
    with pytest.raises(NoMovieError, match=rf"x\.tif: .*{message}"):
        index_of(hostile.tagged((tag, SHORT, 1, value)))


@pytest.mark.parametrize(("tag", "value"), [(266, 1), (262, 0), (262, 1), (274, 4), (284, 2)])
def test_tags_that_readers_of_movies_ignore(tag: int, value: int) -> None:
    plain, found = (index_of(hostile.tagged(*tags)) for tags in ([], [(tag, SHORT, 1, value)]))
    assert found.layout == plain.layout


def test_strip_lists_shared_by_images() -> None:
    data = hostile.shared_lists()
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match=r"x\.tif: .*too many strips for the size of the file .*; copy"):
            index_of(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(data)


def test_the_index_of_many_strips_is_small(tmp_path: Path) -> None:
    frames, strips = 3, 4000
    path = write_tiff(tmp_path / "x.tif", counts((frames, strips, 5)), compression=None, rowsperstrip=1)
    data = path.read_bytes()
    tracemalloc.start()
    try:
        index = index_of(data)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [len(page.offsets) for page in index.pages] == [strips] * frames
    # offset and size, eight bytes each
    assert held < 1.2 * 16 * frames * strips


@pytest.mark.parametrize("strips", [16, 64])
def test_overlapping_strips(strips: int) -> None:
    with pytest.raises(
        DamagedError, match=r"x\.tif: invalid size of the strips of frame 0 \(at most \d+ bytes, got \d+\); copy"
    ):
        index_of(hostile.overlapping_strips(strips))


def test_a_strip_longer_than_any_codec_writes() -> None:
    place, size = hostile.directories_bytes(2, 7), 1 << 16
    with pytest.raises(DamagedError, match="invalid size of the strips of frame 0"):
        index_of(hostile.tiff(2, hostile.image_tags(8, 8, (place, size), compression=8), bytes(size)))


@pytest.mark.parametrize(("ny", "nx"), [(1, 1 << 31), (1 << 31, 1), (1 << 15, 1 << 16), ((1 << 16) + 1, 1)])
def test_frames_larger_than_those_of_any_camera(ny: int, nx: int) -> None:
    size = 1 << 21
    tags = hostile.image_tags(ny, nx, (hostile.directories_bytes(2, 7), size), compression=5)
    with pytest.raises(
        NoMovieError, match=rf"x\.tif: unsupported frame size, larger than any camera \({ny} x {nx} pixels, uint8\)"
    ):
        index_of(hostile.tiff(2, tags, bytes(size)))


def test_a_tile_larger_than_its_image() -> None:
    with pytest.raises(DamagedError, match=r"x\.tif: invalid tile size \(16384 x 16384 for 8 x 8 pixels\)"):
        index_of(hostile.large_tile())
    assert index_of(hostile.large_tile(2048, 2048)).layouts[0].segment_bytes == 1 << 22


def test_the_largest_supported_frames() -> None:
    side, size = 1 << 14, 1 << 20
    tags = hostile.image_tags(side, side, (hostile.directories_bytes(2, 8), size), compression=5, bits=32)
    index = index_of(hostile.tiff(2, [*tags, (339, SHORT, 1, 3)], bytes(size)))
    assert index.layout.page_bytes == 1 << 30
    assert index.layout.dtype == np.float32


def test_strip_ends_beyond_the_integer_range() -> None:
    place = hostile.directories_bytes(2, 7)
    with pytest.raises(DamagedError, match="beyond the end"):
        index_of(hostile.tiff(2, hostile.image_tags(8, 8, (2**32 - 1, 2**32 - 1)), bytes(place)))
