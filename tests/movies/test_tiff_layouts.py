"""TIFF movies of every layout that libtiff decodes: the pixels, whatever the strips, codecs, tiles and bits are."""

import lzma
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import mrc
from cryofs.formats.tiff_layout import NoMovieError
from cryofs.movies.tiff import ForeignMovie
from tests import hostile
from tests.foreign import counts, write_tiff
from tests.tiff_writer import ASCII, LONG, REVERSED_BITS, SHORT, PageForm, write_pages

FRAMES = counts((3, 30, 41), mean=60)
DEFLATE = PageForm(compression=8, encode=zlib.compress)
CODECS = {
    "none": PageForm(),
    "deflate": DEFLATE,
    "lzw": PageForm(compression=5, encode=imagecodecs.lzw_encode),
    "zstd": PageForm(compression=50000, encode=imagecodecs.zstd_encode),
    "lzma": PageForm(compression=34925, encode=lzma.compress),
    "packbits": PageForm(compression=32773, encode=imagecodecs.packbits_encode),
}


def shown(path: Path) -> NDArray[Any]:
    with ForeignMovie(path) as movie:
        return np.stack(list(movie.frames()))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32"])
def test_every_codec(tmp_path: Path, codec: str, order: str, dtype: str) -> None:
    frames = FRAMES.astype(dtype)
    found = shown(write_pages(tmp_path / "x.tif", frames, CODECS[codec], order=order))
    assert found.dtype == ("int16" if dtype == "uint8" else dtype)
    assert np.array_equal(found, frames)


@pytest.mark.parametrize("codec", CODECS)
def test_a_last_strip_as_high_as_the_others(tmp_path: Path, codec: str) -> None:
    form = replace(CODECS[codec], rows=8, is_padded=True)
    assert np.array_equal(shown(write_pages(tmp_path / "x.tif", FRAMES, form)), FRAMES)


@pytest.mark.parametrize("codec", CODECS)
def test_bits_in_reverse_order(tmp_path: Path, codec: str) -> None:
    encode = CODECS[codec].encode
    form = replace(CODECS[codec], encode=lambda strip: encode(strip).translate(REVERSED_BITS), tags={266: (SHORT, [2])})
    assert np.array_equal(shown(write_pages(tmp_path / "x.tif", FRAMES, form)), FRAMES)


def test_pages_that_differ_in_all_but_size_and_type(tmp_path: Path) -> None:
    forms = [replace(form, rows=rows) for form, rows in zip(CODECS.values(), (30, 7, 10, 1, 29, 16), strict=True)]
    frames = counts((len(forms), 30, 41), mean=60)
    path = write_pages(tmp_path / "x.tif", frames, *forms)
    with ForeignMovie(path) as movie:
        assert movie.row_block(0) is None
        assert np.array_equal(np.stack(list(movie.frames())), frames)


def test_the_pixel_size_is_that_of_the_first_page(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, frame in enumerate(FRAMES):
            options: dict[str, Any] = {"resolution": (1e8, 1e8), "resolutionunit": 3} if number == 0 else {}
            writer.write(frame[::-1], photometric="minisblack", metadata=None, **options)
    with ForeignMovie(path) as movie:
        assert movie.mrc_header.pixel_size == pytest.approx(1.0)
        assert np.array_equal(movie.frame(2), FRAMES[2])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([FRAMES[0], FRAMES[1][:20]], r"image 1 differs .* in size \(expected 30 x 41, got 20 x 41\)"),
        ([FRAMES[0], FRAMES[1], FRAMES[2][:, :40]], r"image 2 differs .* in size \(expected 30 x 41, got 30 x 40\)"),
        ([FRAMES[0], FRAMES[1].astype("i1")], r"image 1 differs .* in pixel type \(expected uint8, got int8\)"),
    ],
)
def test_pages_that_differ_in_size_or_type(tmp_path: Path, frames: list[NDArray[Any]], message: str) -> None:
    with pytest.raises(NoMovieError, match=rf"x\.tif: not a TIFF movie, {message}"):
        ForeignMovie(write_pages(tmp_path / "x.tif", frames))


@pytest.mark.parametrize("rows", [30, 15, 10, 1])
@pytest.mark.parametrize("form", [PageForm(without=(279,)), PageForm(sizes=lambda sizes: [0] * len(sizes))])
@pytest.mark.parametrize("order", ["<", ">"])
def test_uncompressed_strips_without_sizes(tmp_path: Path, rows: int, form: PageForm, order: str) -> None:
    frames = FRAMES.astype("u2")
    path = write_pages(tmp_path / "x.tif", frames, replace(form, rows=rows), order=order)
    assert np.array_equal(shown(path), frames)


@pytest.mark.parametrize("size", [0, 100, 10_000])
def test_one_uncompressed_strip_with_a_wrong_size(tmp_path: Path, size: int) -> None:
    path = write_pages(tmp_path / "x.tif", FRAMES, PageForm(rows=30, sizes=lambda _: [size]))
    assert np.array_equal(shown(path), FRAMES)


def test_one_compressed_strip_without_a_size(tmp_path: Path) -> None:
    for form in (replace(DEFLATE, rows=30, without=(279,)), replace(DEFLATE, rows=30, sizes=lambda _: [0])):
        assert np.array_equal(shown(write_pages(tmp_path / "x.tif", FRAMES, form)), FRAMES)


def test_compressed_strips_without_sizes(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "x.tif", FRAMES, replace(DEFLATE, without=(279,)))
    with pytest.raises(DamagedError, match=r"x\.tif: missing sizes of the compressed strips of frame 0"):
        ForeignMovie(path)


@pytest.mark.parametrize("form", [PageForm(without=(279,)), PageForm(sizes=lambda sizes: [0] * len(sizes))])
def test_strips_without_sizes_that_reach_beyond_the_file(tmp_path: Path, form: PageForm) -> None:
    path = write_pages(tmp_path / "x.tif", FRAMES, replace(form, tags={273: (LONG, [8, 418, 10_000])}))
    with pytest.raises(DamagedError, match=r"x\.tif: truncated, frame 0 is beyond the end of the file"):
        ForeignMovie(path)


def test_a_strip_that_no_one_wrote(tmp_path: Path) -> None:
    form = PageForm(tags={273: (LONG, [8, 0, 828])}, sizes=lambda sizes: [sizes[0], 0, sizes[2]])
    with pytest.raises(DamagedError, match=r"x\.tif: .*offset 0 inside"):
        ForeignMovie(write_pages(tmp_path / "x.tif", FRAMES, form))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("tile", [(16, 16), (16, 48), (64, 16), (32, 64)])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
def test_tiles(tmp_path: Path, dtype: str, tile: tuple[int, int], compression: str | None) -> None:
    frames = FRAMES.astype(dtype)
    assert np.array_equal(shown(write_tiff(tmp_path / "x.tif", frames, tile=tile, compression=compression)), frames)


def test_row_blocks_of_tiles(tmp_path: Path) -> None:
    frames = counts((2, 2000, 70))
    with ForeignMovie(write_tiff(tmp_path / "x.tif", frames, tile=(64, 32))) as movie:
        row = 0
        while row < 2000:
            rows = movie.row_block(row)
            assert rows is not None
            assert (rows.start, len(rows) < 1000) == (row, True)
            decoded = movie.read_frame(1, rows).decode()
            assert decoded.nbytes == movie.decoded_bytes(rows)
            assert np.array_equal(decoded.reshape(len(rows), 70), frames[1, row : rows.stop])
            row = rows.stop


def test_floats_with_the_predictor_of_integers(tmp_path: Path) -> None:
    frames = (FRAMES * np.float32(1.37)).astype("f4")

    def differences(strip: bytes) -> bytes:
        bits = np.frombuffer(strip, "u4").reshape(-1, frames.shape[2])
        return zlib.compress(np.diff(bits, axis=1, prepend=np.uint32(0)).astype("u4").tobytes())

    form = PageForm(compression=8, encode=differences, tags={317: (SHORT, [2])})
    assert shown(write_pages(tmp_path / "x.tif", frames, form)).tobytes() == frames.tobytes()


@pytest.mark.parametrize("columns", [40, 39])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("lowest_first", [False, True])
def test_four_bits_a_sample(tmp_path: Path, columns: int, codec: str, lowest_first: bool) -> None:
    """As tifffile reads them: the first value in the high half of a byte."""
    packed = np.random.default_rng(0).integers(0, 256, (3, 30, 20), dtype=np.uint8)
    encode = CODECS[codec].encode
    form = replace(
        CODECS[codec],
        encode=lambda strip: encode(strip).translate(REVERSED_BITS) if lowest_first else encode(strip),
        tags={258: (SHORT, [4]), 256: (LONG, [columns]), 266: (SHORT, [2 if lowest_first else 1])},
    )
    path = write_pages(tmp_path / "x.tif", packed, form)
    values = np.empty((3, 30, 40), np.uint8)
    values[..., 0::2], values[..., 1::2] = packed >> 4, packed & 15
    with ForeignMovie(path) as movie:
        assert (movie.shape, movie.mrc_header.mode) == ((3, 30, columns), mrc.MODE_4BIT)
        found = np.stack(list(movie.frames()))
    assert np.array_equal(found, values[:, :, :columns])
    assert np.array_equal(found, tifffile.imread(path)[:, ::-1])


# columns and rows of the bytes, as SerialEM writes them: untrimmed and trimmed K2, K3, in both orientations
@pytest.mark.parametrize(
    ("nx", "ny"),
    [(3840, 7424), (3712, 7680), (3838, 7420), (3710, 7676), (5760, 8184), (4092, 11520)],
)
def test_sizes_of_two_values_a_byte(tmp_path: Path, nx: int, ny: int) -> None:
    packed = np.zeros((2, ny, nx), np.uint8)
    packed[1, 0, :3] = (0x21, 0x43, 0x65)
    with ForeignMovie(write_tiff(tmp_path / "x.tif", packed, rowsperstrip=1000)) as movie:
        assert (movie.shape, movie.mrc_header.mode) == ((2, ny, 2 * nx), mrc.MODE_4BIT)
        rows = movie.row_block(0)
        assert rows is not None
        assert movie.read_frame(1, rows).decode()[:3].tolist() == [0x21, 0x43, 0x65]


TITLE = "SerialEMCCD: Dose fractionated image, 4 bits packed"


@pytest.mark.parametrize(
    ("description", "is_packed"),
    [
        (TITLE, True),
        (f"{TITLE}\nsuper-resolution", True),
        # IMOD unpacks the values of files that it writes, and adds a title
        (f"{TITLE}\nnewstack: Images copied", False),
        ("SerialEMCCD: Dose fractionated image", False),
    ],
)
def test_a_description_of_two_values_a_byte(tmp_path: Path, description: str, is_packed: bool) -> None:
    form = PageForm(tags={270: (ASCII, description.encode() + b"\0")})
    with ForeignMovie(write_pages(tmp_path / "x.tif", FRAMES, form, PageForm())) as movie:
        assert movie.shape == (3, 30, 82 if is_packed else 41)
        assert movie.mrc_header.mode == (mrc.MODE_4BIT if is_packed else 1)


def test_a_dictionary_larger_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(hostile.large_dictionary())
    with ForeignMovie(path) as movie, pytest.raises(DamagedError, match=r"x\.tif, frame 0: .*[Mm]emory"):
        movie.frame(0)


def test_indices_of_a_palette_are_values(tmp_path: Path) -> None:
    form = PageForm(tags={262: (SHORT, [3]), 320: (SHORT, list(range(768)))})
    assert np.array_equal(shown(write_pages(tmp_path / "x.tif", FRAMES, form)), FRAMES)


@pytest.mark.parametrize("codec", sorted(CODECS.keys() - {"none"}))
@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data[: len(data) // 3], lambda _: b"\xff" * 9])
def test_damaged_strips_name_the_frame(tmp_path: Path, codec: str, change: Callable[[bytes], bytes]) -> None:
    encode = CODECS[codec].encode
    damaged = replace(CODECS[codec], encode=lambda strip: change(bytes(encode(strip))))
    path = write_pages(tmp_path / "x.tif", FRAMES, CODECS[codec], damaged)
    with ForeignMovie(path) as movie:
        assert np.array_equal(movie.frame(0), FRAMES[0])
        with pytest.raises(DamagedError, match=r"x\.tif, frame 1: damaged .*copy the file again"):
            movie.frame(1)
