"""The file system of a writable mount, without FUSE: errors reach their writer, and what is durable when."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.storage import changes
from cryofs.vfs.callers import Caller
from cryofs.vfs.writable import WritableFileSystem

CALLER = Caller(os.geteuid(), os.getegid())


class Recorder(changes.Disk):
    """A disk that records what it syncs, and fails where a test wants it to."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        self.fails_for: int | None = None
        self.room: int | None = None

    def sync(self, descriptor: int) -> None:
        self.synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        if descriptor == self.fails_for:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(descriptor)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        if self.room is not None:
            data = data[: self.room]
            self.room -= len(data)
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data, offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(changes, "disk", recorder)
    return recorder


@pytest.fixture(params=["durable", "fast"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WritableFileSystem]:
    (tmp_path / "archive").mkdir()
    made = WritableFileSystem(tmp_path / "archive", Settings(jobs=1, close=request.param))
    made.start()
    yield made
    made.stop()


def created(files: WritableFileSystem, path: str) -> int:
    return files.create(path, 0o644, os.O_RDWR, CALLER)


def test_closing_makes_a_new_file_and_its_name_durable(files: WritableFileSystem, disk: Recorder) -> None:
    is_durable = files._settings.close == "durable"
    handle = created(files, "/x.mrc")
    files.write(handle, memoryview(b"abc"), 0)
    assert disk.synced == []
    files.flush(handle)
    assert disk.synced == (["x.mrc", "archive"] if is_durable else [])
    files.flush(handle)
    files.release(handle)
    assert len(disk.synced) == (2 if is_durable else 0)
    reader = files.open("/x.mrc")
    files.flush(reader)
    files.release(reader)
    assert len(disk.synced) == (2 if is_durable else 0)


def test_a_map_that_is_written_after_closing_is_durable_at_its_end(files: WritableFileSystem, disk: Recorder) -> None:
    handle = created(files, "/x.mrc")
    files.flush(handle)
    before = list(disk.synced)
    files.write(handle, memoryview(b"abc"), 0)
    files.release(handle)
    assert disk.synced[len(before) :] == (["x.mrc"] if before else [])


def test_an_error_of_a_late_write_is_that_of_its_writer(files: WritableFileSystem, disk: Recorder) -> None:
    first, second = created(files, "/x"), files.open("/x", os.O_WRONLY)
    for handle in (first, second):
        files.write(handle, memoryview(b"abc"), 0)
    disk.fails_for = files._written[first].writer
    with pytest.raises(OSError, match="Input/output"):
        files.sync(first)
    files.sync(second)
    disk.fails_for = None
    for handle in (first, second):
        files.release(handle)


def test_a_full_disk_is_reported_to_the_writer(files: WritableFileSystem, disk: Recorder, tmp_path: Path) -> None:
    handle = created(files, "/x.mrc")
    disk.room = 4
    assert files.write(handle, memoryview(b"abcdef"), 0) == 4
    with pytest.raises(OSError, match="No space left"):
        files.write(handle, memoryview(b"ef"), 4)
    files.release(handle)
    assert (tmp_path / "archive" / "x.mrc").read_bytes() == b"abcd"


def test_a_file_that_cannot_be_given_to_its_user_is_not_created(files: WritableFileSystem, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can give files to all users")
    with pytest.raises(PermissionError):
        files.create("/x", 0o644, os.O_RDWR, Caller(os.geteuid() + 1, 0))
    assert list((tmp_path / "archive").iterdir()) == []
