"""TIFF movies of other programs as MRC movies: every pixel, rows from the bottom; what is no movie is refused."""

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cryofs
from cryofs.errors import ChangedError, CryofsError, DamagedError, FormatError
from cryofs.formats import mrc
from cryofs.formats.archive_names import foreign_name, foreign_names
from cryofs.formats.tiff_layout import NoMovieError
from cryofs.movies.tiff import ForeignMovie
from cryofs.storage.byte_source import LocalFile
from tests import faults
from tests.foreign import PIXEL_SIZE, WRITERS, counts, write_tiff
from tests.support import put_back


@pytest.mark.parametrize("writer", WRITERS)
def test_layouts_of_other_programs(tmp_path: Path, writer: str) -> None:
    frames = counts()
    if writer == "EPU":
        frames = frames.astype("uint16")
    path = WRITERS[writer](tmp_path / "x.tif", frames)
    with cryofs.open(path) as movie:
        assert isinstance(movie, ForeignMovie)
        assert movie.shape == frames.shape
        for index, frame in enumerate(movie.frames()):
            assert np.array_equal(frame, frames[index])
        shown = tmp_path / "shown.mrc"
        shown.write_bytes(movie.header + b"".join(movie.mrc_frame(k).tobytes() for k in range(len(frames))))
        assert shown.stat().st_size == movie.layout.total_bytes
    with mrcfile.open(shown) as found:
        assert np.array_equal(np.asarray(found.data), frames)
        if writer == "SerialEM":
            assert float(found.voxel_size.x) == pytest.approx(PIXEL_SIZE, rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("compression", "predictor"), [(None, False), ("lzw", False), ("lzw", True), ("zlib", False), ("zlib", True)]
)
def test_every_type_and_codec(tmp_path: Path, dtype: str, byteorder: str, compression: str, predictor: bool) -> None:
    frames = counts(shape=(3, 21, 17), mean=90).astype(dtype)
    if dtype.startswith("int"):
        frames = (frames - 60).astype(dtype)
    options: dict[str, Any] = {"compression": compression, "predictor": predictor, "rowsperstrip": 8}
    path = write_tiff(tmp_path / "x.tif", frames, byteorder=byteorder, **options)
    with ForeignMovie(path) as movie:
        assert movie.dtype == ("int16" if dtype == "uint8" else dtype)
        for index, frame in enumerate(movie.frames()):
            assert np.array_equal(frame, frames[index])


@given(start=st.integers(0, 6000), size=st.integers(1, 6000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_pieces_are_the_bytes_of_the_frame(tmp_path: Path, start: int, size: int) -> None:
    path = tmp_path / "x.tif"
    if not path.exists():
        write_tiff(path, counts(shape=(2, 61, 41)))
    with ForeignMovie(path) as movie:
        decoded, whole = movie.read_frame(1).decode(), movie.mrc_frame(1)
        assert len(decoded.tobytes()) == movie.decoded_bytes()
        assert movie.mrc_bytes(decoded, start, size).tobytes() == whole[start : start + size].tobytes()


def test_memory_that_is_used_again(tmp_path: Path) -> None:
    frames = counts(dtype="uint16")
    with ForeignMovie(write_tiff(tmp_path / "x.tif", frames)) as movie:
        memory = np.empty(movie.decoded_bytes(), np.uint8)
        decoded = movie.read_frame(2).decode(memory)
        assert np.shares_memory(decoded, memory)
        assert np.array_equal(decoded.reshape(frames.shape[1:]), frames[2])


def test_two_values_a_byte(tmp_path: Path) -> None:
    packed = np.zeros((2, 8184, 5760), np.uint8)
    packed[1, 0, :3] = (0x21, 0x43, 0x65)
    with ForeignMovie(write_tiff(tmp_path / "x.tif", packed, rowsperstrip=8184)) as movie:
        assert (movie.shape, movie.mrc_header.mode) == ((2, 8184, 11520), mrc.MODE_4BIT)
        assert movie.mrc_frame(1).tobytes() == packed[1].tobytes()
        assert movie.frame(1)[0, :7].tolist() == [1, 2, 3, 4, 5, 6, 0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("x.tif", "x.mrc"), ("x.tiff", "x.mrc"), ("x.mrc.tif", "x.mrc"), ("x.mrcs.tif", "x.mrcs"), ("x.eer", None)],
)
def test_names(name: str, shown: str | None) -> None:
    assert foreign_name(name) == shown
    if shown is not None:
        assert name in foreign_names(shown)


def test_files_that_are_not_movies(tmp_path: Path) -> None:
    frames = counts()
    cases: dict[str, Callable[[Path], Any]] = {
        "one image": lambda path: write_tiff(path, frames[:1]),
        "differs": lambda path: tifffile.imwrite(path, frames[0]) or tifffile.imwrite(path, frames[1, :9], append=True),
        "value per pixel": lambda path: tifffile.imwrite(path, np.zeros((2, 8, 8, 3), np.uint8), photometric="rgb"),
        "64 bits": lambda path: write_tiff(path, frames.astype("float64"), compression=None),
        "compression": lambda path: write_tiff(path, frames, compression="lerc"),
        "not a TIFF": lambda path: path.write_bytes(b"photograph"),
    }
    for message, write in cases.items():
        path = tmp_path / f"{message}.tif".replace(" ", "-")
        write(path)
        with pytest.raises(
            NoMovieError, match=message if message != "one image" else "expected at least 2 images, got 1"
        ):
            ForeignMovie(path)


def test_a_truncated_movie_is_never_a_shorter_one(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", counts(), rowsperstrip=16)
    whole = path.read_bytes()
    for length in range(8, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises((DamagedError, NoMovieError)):
            ForeignMovie(path)


def test_a_frame_size_larger_than_the_file(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", counts(shape=(2, 16, 16)), rowsperstrip=2**16)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for page in tiff.pages:
            for name, value in (("ImageWidth", 2**15), ("ImageLength", 2**15), ("RowsPerStrip", 2**15)):
                tag = page.aspage().tags[name]
                struct.pack_into("<HHII", data, tag.offset, tag.code, 4, 1, value)
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="too short for"):
        ForeignMovie(path)


@given(seed=st.integers(0, 2**32 - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_damage_gives_pixels_or_an_error_that_names_the_file(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    compression = rng.choice(["lzw", "zlib", "none"])
    options = {"compression": None if compression == "none" else str(compression), "rowsperstrip": 8}
    path = write_tiff(tmp_path / "x.tif", counts(shape=(3, 20, 16), seed=seed), **options)
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 3):
        data[place] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    message = path.name
    try:
        with ForeignMovie(path) as movie:
            for index in range(movie.layout.frames):
                assert movie.mrc_frame(index).size == movie.layout.frame_bytes
    except CryofsError as error:
        message = str(error)
    assert path.name in message


def test_a_damaged_strip_names_the_frame(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", counts(), compression="zlib", rowsperstrip=48)
    with ForeignMovie(path) as movie:
        place = movie.index.pages[3].offsets[0]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\0\0")
    with ForeignMovie(path) as movie:
        movie.mrc_frame(2)
        with pytest.raises(DamagedError, match=r"x\.tif, frame 3: damaged .*copy the file again"):
            movie.mrc_frame(3)


def test_an_error_of_the_storage_names_file_frame_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = counts()
    with ForeignMovie(write_tiff(tmp_path / "x.tif", frames)) as movie:
        with monkeypatch.context() as patch:
            faults.inject(patch, faults.error_at(0, errno.ENXIO))
            with pytest.raises(DamagedError, match=r"x\.tif, frame 2: .*copy the file again") as found:
                movie.mrc_frame(2)
        assert found.value.facts["frame"] == 2
        assert np.array_equal(movie.frame(2), frames[2]), "nothing of it is remembered"


def test_a_movie_that_cannot_be_opened_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    path = write_tiff(tmp_path / "x.tif", counts())
    source = LocalFile.open(path)
    monkeypatch.setattr("cryofs.movies.tiff.foreign_header", fail)
    with pytest.raises(ZeroDivisionError):
        ForeignMovie(path, source=source)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(source.descriptor)


def test_a_file_that_is_overwritten_while_open(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", counts())
    with ForeignMovie(path) as movie:
        os.utime(path, ns=(0, 0))
        with pytest.raises(ChangedError, match="open it again"):
            movie.mrc_frame(0)


def test_a_file_put_back_in_place_while_open_gives_no_more_frames(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", counts())
    other = path.read_bytes()[:-1] + b"x"
    with ForeignMovie(path) as movie:
        movie.mrc_frame(0)
        put_back(path, other)
        with pytest.raises(ChangedError, match="open it again"):
            movie.mrc_frame(1)


def test_opening_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        cryofs.open(tmp_path / "x.tif")
