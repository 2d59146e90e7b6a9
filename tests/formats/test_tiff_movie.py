"""TIFF movies of other programs that are made to be misread, or to take memory and time."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cryofs.errors import DamagedError
from cryofs.formats import tiff_movie
from cryofs.formats.tiff_movie import NoMovieError, TiffIndex
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
        (266, 2, "bits of each byte are reversed"),
        (262, 3, "no intensities"),
        (262, 2, "no intensities"),
        (339, 4, "format 4"),
    ],
)
def test_tags_that_make_other_pixels_of_the_bytes(tag: int, value: int, message: str) -> None:
    with pytest.raises(NoMovieError, match=rf"x\.tif: .*{message}"):
        index_of(hostile.tagged((tag, SHORT, 1, value)))


@pytest.mark.parametrize(("tag", "value"), [(266, 1), (262, 0), (262, 1), (274, 4), (284, 2)])
def test_tags_that_readers_of_movies_pass_over(tag: int, value: int) -> None:
    plain, found = (index_of(hostile.tagged(*tags)) for tags in ([], [(tag, SHORT, 1, value)]))
    assert found.layout == plain.layout


def test_lists_of_strips_that_images_share() -> None:
    data = hostile.shared_lists()
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match=r"x\.tif: .*more strips than it could list; copy"):
            index_of(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(data)


def test_the_index_of_many_strips_takes_little(tmp_path: Path) -> None:
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
def test_strips_that_overlap(strips: int) -> None:
    with pytest.raises(DamagedError, match=r"x\.tif: frame 0 has strips of \d+ bytes, more than it can have; copy"):
        index_of(hostile.overlapping_strips(strips))


def test_a_strip_that_is_longer_than_any_codec_makes_it() -> None:
    place, size = hostile.directories_bytes(2, 7), 1 << 16
    with pytest.raises(DamagedError, match="more than it can have"):
        index_of(hostile.tiff(2, hostile.image_tags(8, 8, (place, size), compression=8), bytes(size)))


@pytest.mark.parametrize(("ny", "nx"), [(1, 1 << 31), (1 << 31, 1), (1 << 15, 1 << 16), ((1 << 16) + 1, 1)])
def test_frames_larger_than_those_of_any_camera(ny: int, nx: int) -> None:
    size = 1 << 21
    tags = hostile.image_tags(ny, nx, (hostile.directories_bytes(2, 7), size), compression=5)
    with pytest.raises(NoMovieError, match=rf"x\.tif: images of {ny} x {nx}, uint8, are larger"):
        index_of(hostile.tiff(2, tags, bytes(size)))


def test_frames_as_large_as_cameras_may_have_them() -> None:
    side, size = 1 << 14, 1 << 20
    tags = hostile.image_tags(side, side, (hostile.directories_bytes(2, 8), size), compression=5, bits=32)
    index = index_of(hostile.tiff(2, [*tags, (339, SHORT, 1, 3)], bytes(size)))
    assert index.layout.page_bytes == 1 << 30
    assert index.layout.dtype == np.float32


def test_strips_whose_ends_no_number_holds() -> None:
    place = hostile.directories_bytes(2, 7)
    with pytest.raises(DamagedError, match="beyond the end"):
        index_of(hostile.tiff(2, hostile.image_tags(8, 8, (2**32 - 1, 2**32 - 1)), bytes(place)))
