"""Readers of a few bytes get row blocks of a frame, those in order whole frames: the original's bytes, or an error."""

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulate import Detector, header, write_movie
from cryofs.config.settings import Settings, Size
from cryofs.errors import DamagedError
from cryofs.formats.record import read_record
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.archived_counts import CountsMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.tiff import ForeignMovie
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests.corpus.record_mutants import with_record
from tests.foreign import write_tiff
from tests.support import archive
from tests.vfs.serving import started

# frames of five row blocks, the last of them a few rows
SHAPE = (1100, 1024)
FRAMES = 3
FRAME_BYTES = SHAPE[0] * SHAPE[1] * 4
NAMES = ("normalised.mrc", "packed.mrc", "floats.mrc")


@pytest.fixture(name="session", scope="module")
def session_of_tall_movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks") / "session"
    folder.mkdir()
    rng = np.random.default_rng(0)
    write_movie(folder / "normalised.mrc", Detector.make(SHAPE, 900), 30)
    packed = rng.integers(0, 256, (FRAMES, 1100, 333), np.uint8)
    (folder / "packed.mrc").write_bytes(header((FRAMES, 1100, 666), 101) + packed.tobytes())
    floats = rng.normal(size=(FRAMES, 1100, 77)).astype(">f4")
    (folder / "floats.mrc").write_bytes(header((FRAMES, 1100, 77), 2, byte_order=">") + floats.tobytes() + b"tail")
    write_tiff(folder / "tiff.tif", rng.integers(0, 100, (FRAMES, 1100, 300), np.uint8), rowsperstrip=64)
    archive(folder, folder.with_name("archive"))
    return folder


@pytest.fixture(name="files")
def served(session: Path) -> Iterator[FileSystem]:
    with started(FileSystem(session.with_name("archive"), Settings(jobs=2))) as made:
        yield made


def blocks_of(movie: Movie, index: int) -> list[range]:
    """The row blocks of a frame; asserts that they decode to its bytes."""
    whole, row, blocks = movie.mrc_frame(index), 0, []
    while row < movie.shape[1]:
        block = movie.row_block(row)
        assert block is not None
        assert block.start == row
        assert movie.row_block(block.stop - 1) == block
        decoded = movie.read_frame(index, block).decode()
        assert decoded.nbytes == movie.decoded_bytes(block)
        size = len(block) * movie.row_bytes
        assert movie.mrc_bytes(decoded, 0, size).tobytes() == whole[row * movie.row_bytes :][:size].tobytes()
        row = block.stop
        blocks.append(block)
    return blocks


@pytest.mark.parametrize("name", NAMES)
def test_row_blocks_are_pieces_of_the_frame(session: Path, name: str) -> None:
    with ArchivedMovie(session.with_name("archive") / f"{name}.tif", GainLibrary()) as movie:
        for index in range(FRAMES):
            assert len(blocks_of(movie, index)) == 9


@pytest.mark.parametrize("row_bytes", [2 * SHAPE[1]])
def test_row_blocks_of_counts_are_pieces_of_the_frame(session: Path, row_bytes: int) -> None:
    with CountsMovie(ArchivedMovie(session.with_name("archive") / "normalised.mrc.tif", GainLibrary())) as movie:
        assert movie.row_bytes == row_bytes
        for index in range(FRAMES):
            assert len(blocks_of(movie, index)) == 9


@pytest.mark.parametrize(("rows_per_strip", "blocks"), [(1, 9), (100, 11), (256, 5), (300, 4), (1100, 0)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">f4"])
def test_row_blocks_of_tiff_movies_are_pieces_of_the_frame(
    tmp_path: Path, rows_per_strip: int, blocks: int, dtype: str
) -> None:
    frames = np.random.default_rng(0).integers(0, 100, (2, *SHAPE[:1], 40)).astype(dtype)
    path = write_tiff(tmp_path / "x.tif", frames, rowsperstrip=rows_per_strip, byteorder=">" if dtype == ">f4" else "<")
    with ForeignMovie(path) as movie:
        if blocks:
            assert len(blocks_of(movie, 1)) == blocks
        else:
            assert movie.row_block(0) is None


def test_rows_that_are_not_whole_strips_are_refused(session: Path) -> None:
    with ArchivedMovie(session.with_name("archive") / "normalised.mrc.tif", GainLibrary()) as movie:
        block = movie.row_block(0)
        assert block is not None
        for rows in (range(block.start, block.stop - 1), range(block.start + 1, block.stop), range(5, 5)):
            with pytest.raises(ValueError, match="not whole strips"):
                movie.read_frame(0, rows)


def read_both_ways(files: FileSystem, handle: int, expected: bytes, size: int, offset: int) -> None:
    """Assert that a read returns the bytes, with memory for them and without, and writes nothing beside it."""
    memory = np.full(size + 64, 0xA5, np.uint8)
    assert bytes(files.read(handle, size, offset, memory[:size])) == expected[offset : offset + size]
    assert (memory[size:] == 0xA5).all()
    assert bytes(files.read(handle, size, offset)) == expected[offset : offset + size]


@pytest.mark.parametrize("name", NAMES)
def test_here_and_there(session: Path, files: FileSystem, name: str) -> None:
    original = (session / name).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        handle = files.open(f"/{name}")
        size, offset = int(rng.integers(1, 1 << 20)), int(rng.integers(0, len(original)))
        read_both_ways(files, handle, original, size, offset)
        files.release(handle)


def whole_file(movie: Movie) -> bytes:
    with movie:
        return movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.layout.frames))


@pytest.mark.parametrize("name", ["/@counts/normalised.mrc", "/tiff.mrc"])
def test_here_and_there_in_other_movies(session: Path, files: FileSystem, name: str) -> None:
    folder = session.with_name("archive")
    if name == "/tiff.mrc":
        expected = whole_file(ForeignMovie(folder / "tiff.tif"))
    else:
        expected = whole_file(CountsMovie(ArchivedMovie(folder / "normalised.mrc.tif", GainLibrary())))
    rng = np.random.default_rng(1)
    for _ in range(60):
        handle = files.open(name)
        size, offset = int(rng.integers(1, 1 << 20)), int(rng.integers(0, len(expected)))
        read_both_ways(files, handle, expected, size, offset)
        files.release(handle)


def test_a_cached_frame_is_read_by_whoever_opens_the_movie_next(session: Path, files: FileSystem) -> None:
    original = (session / "normalised.mrc").read_bytes()
    for _ in range(2):
        handle = files.open("/normalised.mrc")
        assert bytes(files.read(handle, 5000, 4096 + FRAME_BYTES)) == original[4096 + FRAME_BYTES :][:5000]
        files.release(handle)
    assert files.facts()["decodes"] == 1


@pytest.mark.parametrize("name", ["/@counts/normalised.mrc", "/tiff.mrc"])
def test_a_few_bytes_of_other_movies_cost_a_row_block(files: FileSystem, name: str) -> None:
    handle = files.open(name)
    frame_bytes = (files.attributes(name).size - 1024) // (3 if name == "/tiff.mrc" else 30)
    files.read(handle, 100, 1024 + frame_bytes + 5000)
    files.read(handle, 100, 1024 + frame_bytes + 9000)
    files.release(handle)
    facts = files.facts()
    assert facts["decodes"] == 1
    assert 0 < facts["cached_bytes"] <= frame_bytes / 4


def test_many_threads_read_one_open_file(session: Path, files: FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    original = (session / "normalised.mrc").read_bytes()[: 1024 + 2 * FRAME_BYTES]
    # all of them jump, so all get row blocks; threads take turns within a few calls
    monkeypatch.setattr("cryofs.vfs.read_pattern.SEQUENTIAL_BYTES", 1 << 60)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    handle = files.open("/normalised.mrc")

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for offset in rng.integers(1024, len(original) - 100, 200).tolist():
            assert bytes(files.read(handle, 100, offset)) == original[offset : offset + 100]

    try:
        with ThreadPoolExecutor(8) as readers:
            list(readers.map(read, range(8)))
    finally:
        sys.setswitchinterval(before)
        files.release(handle)


def test_a_few_bytes_cost_a_row_block_and_reading_on_whole_frames(session: Path, files: FileSystem) -> None:
    original = (session / "normalised.mrc").read_bytes()
    handle = files.open("/normalised.mrc")
    assert bytes(files.read(handle, 4096, 0)) == original[:4096]
    assert bytes(files.read(handle, 4096, 8192)) == original[8192 : 8192 + 4096]
    facts = files.facts()
    assert facts["decodes"] == 1
    assert 0 < facts["cached_bytes"] <= 128 * SHAPE[1] * 4
    step = 1 << 19
    for offset in range(0, len(original), step):
        assert bytes(files.read(handle, step, offset)) == original[offset : offset + step]
    files.release(handle)
    facts = files.facts()
    # 30 frames, and the row blocks that the first four megabytes took
    assert 30 <= facts["decodes"] <= 30 + 9
    assert facts["read_ahead"] > 20
    # frames that are there already serve readers of a few bytes
    handle = files.open("/normalised.mrc")
    offset = 1024 + 29 * FRAME_BYTES + 100
    assert bytes(files.read(handle, 10, offset)) == original[offset : offset + 10]
    files.release(handle)
    assert files.facts()["decodes"] == facts["decodes"]


def copy_of_archive(session: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(session.with_name("archive"), tmp_path / "archive"))


@pytest.mark.parametrize("what", ["strip", "exceptions"])
def test_all_parts_of_a_row_block_are_compared_with_their_checksums(session: Path, tmp_path: Path, what: str) -> None:
    """What is stored stays as it is, and decodes; only its sum in the record is another."""

    def change(plain: dict[str, Any]) -> None:
        frame = plain["frames"][1]
        if what == "strip":
            # that of the first rows
            frame["strip_sums"][-1] = "0" * 32
        else:
            frame["exceptions"]["blob"]["sum"] = "0" * 32

    path = copy_of_archive(session, tmp_path) / "normalised.mrc.tif"
    path.write_bytes(with_record(path.read_bytes(), change))
    with ArchivedMovie(path, GainLibrary()) as movie:
        block = movie.row_block(0)
        assert block is not None
        assert movie.read_frame(0, block).decode().size == movie.decoded_bytes(block)
        with pytest.raises(DamagedError, match=r"frame 1: damaged"):
            movie.read_frame(1, block)


def test_a_damaged_strip_costs_its_row_block_alone(session: Path, tmp_path: Path) -> None:
    original = (session / "normalised.mrc").read_bytes()
    place = copy_of_archive(session, tmp_path)
    path = place / "normalised.mrc.tif"
    with path.open("r+b") as file:
        frame = read_record(LocalFile(file.fileno(), "", is_owned=False)).frames[1]
        # the last strip holds the first rows
        file.seek(frame.offsets[-1] + frame.byte_counts[-1] // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
    files = FileSystem(place, Settings(jobs=2))
    files.start()
    start, behind = 1024 + FRAME_BYTES, 1024 + 2 * FRAME_BYTES - 5000
    handle = files.open("/normalised.mrc")
    with pytest.raises(DamagedError, match=r"normalised\.mrc\.tif, frame 1: damaged.*restore"):
        files.read(handle, 10, start)
    assert bytes(files.read(handle, 5000, behind)) == original[behind : behind + 5000]
    files.release(handle)
    handle = files.open("/normalised.mrc")
    for offset in range(0, start, 1 << 19):
        size = min(1 << 19, start - offset)
        assert bytes(files.read(handle, size, offset)) == original[offset : offset + size]
    with pytest.raises(DamagedError, match="frame 1: damaged"):
        files.read(handle, 10, start)
    files.release(handle)
    files.stop()


def test_more_readers_than_the_cache_holds_frames(session: Path) -> None:
    original = (session / "normalised.mrc").read_bytes()
    # two frames and a half, for readers of four different frames at a time
    files = FileSystem(session.with_name("archive"), Settings(jobs=2, cache_size=Size(FRAME_BYTES * 5 // 2)))
    files.start()
    handles = [files.open("/normalised.mrc") for _ in range(4)]
    begins = [1024 + number * 7 * FRAME_BYTES for number in range(4)]
    step, steps = 1 << 19, 7 * FRAME_BYTES >> 19
    for place in range(steps):
        for handle, begin in zip(handles, begins, strict=True):
            offset = begin + place * step
            assert bytes(files.read(handle, step, offset)) == original[offset : offset + step]
    facts = files.facts()
    for handle in handles:
        files.release(handle)
    files.stop()
    assert facts["cached_bytes"] <= facts["budget_bytes"]
    # each frame in five row blocks, and a few whole ones at the beginning: nothing is decoded again and again
    assert facts["decodes"] <= 28 * 5 + 28
