"""Open movies without checksums whose ctime moves: the same content goes on, any other is an error."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.simulate_eer import random_frames, write_eer
from cryofs.errors import ChangedError
from cryofs.vfs.file_system import FileSystem
from tests.foreign import counts, write_tiff
from tests.support import put_back
from tests.vfs.serving import FALCON, serving

# frames that are decoded one by one
SHAPE = (5, 600, 600)
FRAME_BYTES = 2 * SHAPE[1] * SHAPE[2]
Write = Callable[[Path, int], Path]


def compressed(path: Path, seed: int) -> Path:
    return write_tiff(path.with_suffix(".tif"), counts(SHAPE, seed=seed), rowsperstrip=100)


def uncompressed(path: Path, seed: int) -> Path:
    return write_tiff(path.with_suffix(".tif"), counts(SHAPE, seed=seed), rowsperstrip=100, compression=None)


def eer(path: Path, seed: int) -> Path:
    path = path.with_suffix(".eer")
    write_eer(path, random_frames(20, SHAPE[1:], 0.05, FALCON, seed), SHAPE[1:], FALCON)
    return path


@pytest.fixture(params=[compressed, uncompressed, eer])
def write(request: pytest.FixtureRequest) -> Write:
    made: Write = request.param
    return made


@pytest.fixture
def stored(tmp_path: Path, write: Write) -> Path:
    return write(tmp_path / "archive" / "x", 0)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileSystem]:
    (tmp_path / "archive").mkdir()
    with serving(tmp_path / "archive") as files:
        yield files


@pytest.fixture
def handle(files: FileSystem, stored: Path) -> Iterator[int]:
    handle = files.open("/x.mrc")
    yield handle
    files.release(handle)


def frame(files: FileSystem, handle: int, index: int) -> bytes:
    return bytes(files.read(handle, FRAME_BYTES, 1024 + index * FRAME_BYTES))


def move_ctime(path: Path) -> None:
    """Let a program set the access time, as backups and `touch -a` do."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns + 1, before.st_mtime_ns))


def test_a_new_ctime_alone_changes_nothing_for_readers(files: FileSystem, stored: Path, handle: int) -> None:
    with serving(stored.parent) as other:
        number = other.open("/x.mrc")
        expected = [frame(other, number, index) for index in range(5)]
        other.release(number)
    for index in range(5):
        move_ctime(stored)
        assert frame(files, handle, index) == expected[index]
    assert frame(files, handle, 0) == expected[0]


def test_frames_decoded_before_are_dropped(files: FileSystem, stored: Path, handle: int) -> None:
    frame(files, handle, 0)
    decodes = files.facts()["decodes"]
    move_ctime(stored)
    frame(files, handle, 4)
    frame(files, handle, 0)
    assert files.facts()["decodes"] >= decodes + 2


def test_another_movie_in_its_place_is_an_error(
    files: FileSystem, stored: Path, handle: int, write: Write, tmp_path: Path
) -> None:
    frame(files, handle, 0)
    data = write(tmp_path / "y", 1).read_bytes()
    size = stored.stat().st_size
    put_back(stored, data[:size].ljust(size, b"\0"))
    for _ in range(2):
        with pytest.raises(ChangedError):
            frame(files, handle, 4)
    move_ctime(stored)
    with pytest.raises(ChangedError):
        frame(files, handle, 4)


def test_another_value_in_a_frame_that_was_read_is_an_error(files: FileSystem, stored: Path, handle: int) -> None:
    """Directories and sizes stay the same: what was read is compared."""
    frame(files, handle, 0)
    data = bytearray(stored.read_bytes())
    # in the first strip of the first frame, behind its beginning
    data[3000] ^= 1
    put_back(stored, bytes(data))
    with pytest.raises(ChangedError):
        frame(files, handle, 4)


def test_another_size_or_mtime_is_an_error(files: FileSystem, stored: Path, handle: int) -> None:
    frame(files, handle, 0)
    os.utime(stored, ns=(0, 0))
    with pytest.raises(ChangedError):
        frame(files, handle, 4)


def test_an_uncompressed_movie_that_was_not_read_yet(tmp_path: Path, files: FileSystem) -> None:
    stored = uncompressed(tmp_path / "archive" / "x", 0)
    handle = files.open("/x.mrc")
    other = uncompressed(tmp_path / "other" / "x", 1)
    assert other.stat().st_size == stored.stat().st_size
    put_back(stored, other.read_bytes())
    with pytest.raises(ChangedError):
        frame(files, handle, 2)
    files.release(handle)
