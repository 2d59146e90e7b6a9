"""Movies of many small frames, which are read in runs: the original's bytes, and errors of damaged frames alone."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulate import Detector, header, write_movie
from cryofs.config.settings import Settings
from cryofs.errors import DamagedError
from cryofs.formats.record import read_record
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.archived_counts import CountsMovie
from cryofs.movies.frame_runs import FrameRuns, frames_of_run
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.tiff import ForeignMovie
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests import faults
from tests.corpus.record_mutants import with_record
from tests.foreign import write_tiff
from tests.support import archive

# two runs of 126 frames, and a third of 48
SHAPE = (65, 64)
FRAMES = 300
FRAME_BYTES = 2 * SHAPE[0] * SHAPE[1]
DAMAGED = 200
# stored as counts with exceptions; integers with large values as exceptions; 4-bit values with odd rows; big-endian
NAMES = ("normalised.mrc", "pattern.mrc", "packed.mrc", "floats.mrc")


@pytest.fixture(name="session", scope="module")
def session_of_small_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "session"
    folder.mkdir()
    rng = np.random.default_rng(0)
    write_movie(folder / "normalised.mrc", Detector.make(SHAPE, 9), FRAMES)
    pattern = rng.poisson(3, (FRAMES, *SHAPE)).astype(np.uint16)
    pattern[::7, 5, 9] = 60000
    (folder / "pattern.mrc").write_bytes(header((FRAMES, *SHAPE), 6) + pattern.tobytes() + b"tail")
    packed = rng.integers(0, 256, (FRAMES, 65, 33), np.uint8)
    (folder / "packed.mrc").write_bytes(header((FRAMES, 65, 65), 101) + packed.tobytes())
    floats = rng.normal(size=(FRAMES, 65, 20)).astype(">f4")
    (folder / "floats.mrc").write_bytes(header((FRAMES, 65, 20), 2, byte_order=">") + floats.tobytes())
    write_tiff(folder / "tiff.tif", rng.integers(0, 100, (FRAMES, *SHAPE), np.uint8), rowsperstrip=30)
    archive(folder, folder.with_name("archive"))
    return folder


@pytest.fixture(name="files")
def served(session: Path) -> Iterator[FileSystem]:
    yield from serve(session.with_name("archive"))


def serve(folder: Path) -> Iterator[FileSystem]:
    made = FileSystem(folder, Settings(jobs=2))
    made.start()
    yield made
    made.stop()


def expected_bytes(session: Path, name: str) -> bytes:
    folder = session.with_name("archive")
    if name == "/tiff.mrc":
        movie: Movie = ForeignMovie(folder / "tiff.tif")
    elif name.startswith("/@counts"):
        movie = CountsMovie(ArchivedMovie(folder / "normalised.mrc.tif", GainLibrary()))
    else:
        return (session / name[1:]).read_bytes()
    with movie:
        return movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.layout.frames))


ALL = [*(f"/{name}" for name in NAMES), "/@counts/normalised.mrc", "/tiff.mrc"]


@pytest.mark.parametrize("step", [1 << 20, 100_000, 5000])
@pytest.mark.parametrize("name", ALL)
def test_in_order(session: Path, files: FileSystem, name: str, step: int) -> None:
    expected = expected_bytes(session, name)
    handle = files.open(name)
    read = b"".join(bytes(files.read(handle, step, offset)) for offset in range(0, len(expected) + step, step))
    files.release(handle)
    assert read == expected


@pytest.mark.parametrize("name", ALL)
def test_here_and_there(session: Path, files: FileSystem, name: str) -> None:
    expected = expected_bytes(session, name)
    rng = np.random.default_rng(1)
    handle = files.open(name)
    for most in (4096, 1 << 20) * 40:
        size, offset = int(rng.integers(1, most)), int(rng.integers(0, len(expected)))
        assert bytes(files.read(handle, size, offset)) == expected[offset : offset + size]
    files.release(handle)


def test_runs_cover_the_movie(session: Path) -> None:
    with ArchivedMovie(session.with_name("archive") / "pattern.mrc.tif", GainLibrary()) as movie:
        assert frames_of_run(movie) == 126
        runs = FrameRuns(movie, 126)
        memory = np.empty(runs.decoded_bytes(), np.uint8)
        decoded = [runs.read_frame(first).decode(memory).copy() for first in range(0, FRAMES, 126)]
        frames = b"".join(movie.mrc_frame(index).tobytes() for index in range(FRAMES))
        assert b"".join(run.tobytes() for run in decoded) == frames


def test_strips_and_exceptions_of_a_run_are_two_reads(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ArchivedMovie(session.with_name("archive") / "normalised.mrc.tif", GainLibrary()) as movie:
        movie.read_frame(0)
        assert all(frame.exceptions for frame in movie.record.frames)
        reads = faults.inject(monkeypatch, faults.none)
        movie.read_run(range(100, 200))
        assert reads.reads == 2


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def strip_of(path: Path, index: int) -> tuple[int, int]:
    with LocalFile.open(path) as source:
        frame = read_record(source).frames[index]
    return frame.offsets[0], frame.byte_counts[0]


def wrong_sum(plain: dict[str, Any]) -> None:
    plain["frames"][DAMAGED]["sum"] = "0" * 32


@pytest.fixture(name="damaged", params=["strip", "sum"])
def archive_with_a_damaged_frame(session: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    """One strip is damaged, which reading finds; or the sum of a frame is wrong, which decoding finds."""
    (tmp_path / "archive").mkdir()
    path = tmp_path / "archive" / "pattern.mrc.tif"
    shutil.copy(session.with_name("archive") / path.name, path)
    if request.param == "strip":
        flip(path, sum(strip_of(path, DAMAGED)) - 20)
    else:
        path.write_bytes(with_record(path.read_bytes(), wrong_sum))
    yield from serve(tmp_path / "archive")


@pytest.mark.parametrize("step", [1 << 20, 128 << 10, 4096])
def test_only_reads_of_the_damaged_frame_fail(session: Path, damaged: FileSystem, step: int) -> None:
    expected = (session / "pattern.mrc").read_bytes()
    start = 1024 + DAMAGED * FRAME_BYTES
    handle = damaged.open("/pattern.mrc")
    failed = 0
    for offset in range(0, len(expected), step):
        if offset < start + FRAME_BYTES and offset + step > start:
            failed += 1
            with pytest.raises(DamagedError, match=f"frame {DAMAGED}: damaged"):
                damaged.read(handle, step, offset)
        else:
            assert bytes(damaged.read(handle, step, offset)) == expected[offset : offset + step]
    assert failed
    # the neighbours, to the last byte
    assert bytes(damaged.read(handle, FRAME_BYTES, start - FRAME_BYTES)) == expected[start - FRAME_BYTES : start]
    assert (
        bytes(damaged.read(handle, FRAME_BYTES, start + FRAME_BYTES)) == expected[start + FRAME_BYTES :][:FRAME_BYTES]
    )
    damaged.release(handle)


def test_only_reads_of_an_unreadable_frame_fail(
    session: Path, files: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (session / "packed.mrc").read_bytes()
    frame_bytes = 65 * 33
    bad, _ = strip_of(session.with_name("archive") / "packed.mrc.tif", DAMAGED)

    def unreadable(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        _, size, offset = arguments
        if isinstance(size, int) and offset <= bad < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call(*arguments)

    handle = files.open("/packed.mrc")
    faults.inject(monkeypatch, unreadable)
    start = 1024 + DAMAGED * frame_bytes
    assert bytes(files.read(handle, start, 0)) == expected[:start]
    with pytest.raises(DamagedError, match=f"frame {DAMAGED}: damaged"):
        files.read(handle, 1 << 20, start)
    assert bytes(files.read(handle, 1 << 20, start + frame_bytes)) == expected[start + frame_bytes :][: 1 << 20]
    files.release(handle)


def test_a_run_of_a_tiff_movie_is_shown_as_its_frames(session: Path) -> None:
    expected = expected_bytes(session, "/tiff.mrc")
    movie = ForeignMovie(session.with_name("archive") / "tiff.tif")
    assert movie.mrc_run(range(250, FRAMES)).tobytes() == expected[-50 * movie.layout.frame_bytes :]
    movie.close()
