"""Plain MRC movies: frames, rows and trailing bytes, and files that change or end while they are read."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import header
from cryofs.errors import ChangedError, FormatError
from cryofs.movies.mrc import MrcMovie

VALUES = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
TAIL = b"trailing bytes"


def write(path: Path, values: NDArray[Any] = VALUES, mode: int = 2, order: str = "<", extended: bytes = b"") -> Path:
    ordered = values.astype(values.dtype.newbyteorder(order))  # type: ignore[arg-type]
    shape: Any = values.shape
    path.write_bytes(header(shape, mode, byte_order=order, extended=extended) + ordered.tobytes() + TAIL)
    return path


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extended", [b"", b"extended"])
def test_the_whole_file_is_there_in_parts(tmp_path: Path, order: str, extended: bytes) -> None:
    path = write(tmp_path / "movie.mrc", order=order, extended=extended)
    data = path.read_bytes()
    with MrcMovie(path) as movie:
        frames = b"".join(movie.mrc_frame(index).tobytes() for index in range(3))
        assert movie.header + frames + movie.read_trailing(1 << 20, 0) == data
        assert (movie.name, movie.shape, movie.dtype) == (str(path), (3, 5, 7), np.dtype(np.float32))
        layout = movie.layout
        assert (layout.header_bytes, layout.frames, layout.frame_bytes) == (1024 + len(extended), 3, 140)
        assert (layout.data_end, layout.total_bytes) == (len(data) - len(TAIL), len(data))


@pytest.mark.parametrize("order", ["<", ">"])
def test_frames_are_values(tmp_path: Path, order: str) -> None:
    with MrcMovie(write(tmp_path / "movie.mrc", order=order)) as movie:
        assert np.array_equal(movie.frame(1), VALUES[1])
        frames = list(movie.frames())
        assert all(frame.dtype == np.float32 and frame.dtype.isnative for frame in frames)
        assert np.array_equal(frames, VALUES)


def test_rows_of_a_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "movie.mrc", VALUES.astype(np.int16), 1, ">")
    with MrcMovie(path) as movie:
        assert np.array_equal(movie.rows(2, 1, 4), VALUES[2, 1:4].astype(np.int16))
        assert movie.raw_rows(2, 1, 4).tobytes() == movie.mrc_frame(2).tobytes()[14:56]
        assert movie.read_frame(2, range(1, 4)).decode().tobytes() == movie.raw_rows(2, 1, 4).tobytes()
        assert movie.raw_rows(0, 5, 5).size == 0


def test_4bit_frames_show_no_padding(tmp_path: Path) -> None:
    path = tmp_path / "movie.mrc"
    path.write_bytes(header((1, 2, 3), 101) + bytes([0x21, 0xF3, 0x54, 0xF6]))
    with MrcMovie(path) as movie:
        assert movie.frame(0).tolist() == [[1, 2, 3], [4, 5, 6]]
        assert movie.rows(0, 1, 2).tolist() == [[4, 5, 6]]
        assert movie.mrc_frame(0).tobytes() == bytes([0x21, 0xF3, 0x54, 0xF6])


@pytest.mark.parametrize(
    ("size", "offset", "expected"), [(4, 0, b"trai"), (4, 9, b"byte"), (9, 12, b"es"), (3, 14, b"")]
)
def test_trailing_bytes(tmp_path: Path, size: int, offset: int, expected: bytes) -> None:
    with MrcMovie(write(tmp_path / "movie.mrc")) as movie:
        assert movie.read_trailing(size, offset) == expected


@pytest.mark.parametrize("index", [-1, 3])
def test_frames_that_do_not_exist(tmp_path: Path, index: int) -> None:
    with MrcMovie(write(tmp_path / "movie.mrc")) as movie, pytest.raises(IndexError, match=r"movie\.mrc"):
        movie.mrc_frame(index)


def test_a_frame_belongs_to_the_caller(tmp_path: Path) -> None:
    with MrcMovie(write(tmp_path / "movie.mrc")) as movie:
        movie.mrc_frame(0)[:] = 0
        assert np.array_equal(movie.frame(0), VALUES[0])


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "movie.mrc")
    with MrcMovie(path) as movie:
        os.truncate(path, 1024 + 140 + 139)
        assert np.array_equal(movie.frame(0), VALUES[0])
        with pytest.raises(ChangedError, match=r"movie\.mrc, frame 1"):
            movie.mrc_frame(1)


def test_a_file_written_to_while_it_is_open(tmp_path: Path) -> None:
    path = write(tmp_path / "movie.mrc")
    with MrcMovie(path) as movie:
        movie.check_unchanged()
        os.utime(path, ns=(0, movie.stat.st_mtime_ns + 1))
        with pytest.raises(ChangedError, match=r"movie\.mrc"):
            movie.check_unchanged()
    with MrcMovie(path) as movie:
        os.truncate(path, path.stat().st_size + 1)
        os.utime(path, ns=(0, movie.stat.st_mtime_ns))
        with pytest.raises(ChangedError, match=r"movie\.mrc"):
            movie.check_unchanged()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with MrcMovie(write(tmp_path / "movie.mrc")):
        assert open_descriptors() == before + 1
    (tmp_path / "none.mrc").write_bytes(b"no MRC")
    with pytest.raises(FormatError, match=r"none\.mrc"):
        MrcMovie(tmp_path / "none.mrc")
    assert open_descriptors() == before
