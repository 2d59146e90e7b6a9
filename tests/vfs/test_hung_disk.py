"""Storage on which one call of a writable mount hangs: the mount answers the rest, and no write is given up."""

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cryofs.config.settings import Settings
from cryofs.errors import StuckError
from cryofs.storage import changes
from cryofs.storage.changes import Disk
from cryofs.system import deadlines
from cryofs.vfs.callers import Caller
from cryofs.vfs.writable import WritableFileSystem
from tests.support import listed_in
from tests.vfs.serving import content, started

CALLER = Caller(os.geteuid(), os.getegid())
SECONDS = 30


class HangingDisk(Disk):
    """A disk on which one call hangs: the first of a kind.

    Attributes
    ----------
    hangs : threading.Event
        Set when the call hangs.
    released : threading.Event
        Set by the test, so that it goes on.
    """

    def __init__(self, call: str):
        self.hangs, self.released = threading.Event(), threading.Event()
        self._call = call

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name != self._call or self.hangs.is_set():
            return found

        def call(*args: Any, **named: Any) -> Any:
            self.hangs.set()
            assert self.released.wait(SECONDS)
            return found(*args, **named)

        return call


@pytest.fixture
def files(tmp_path: Path) -> Iterator[WritableFileSystem]:
    (tmp_path / "archive").mkdir()
    for name in ("x.mrc", "y.mrc"):
        (tmp_path / "archive" / name).write_bytes(b"before")
    made = WritableFileSystem(tmp_path / "archive", Settings(jobs=1))
    with started(made):
        yield made


def write(files: WritableFileSystem, path: str, data: bytes) -> int:
    handle = files.open(path, os.O_RDWR)
    try:
        count = files.write(handle, memoryview(data), 0)
        files.sync(handle)
    finally:
        files.release(handle)
    return count


def create(files: WritableFileSystem, path: str, data: bytes) -> None:
    handle = files.create(path, 0o644, os.O_RDWR, CALLER)
    files.write(handle, memoryview(data), 0)
    files.release(handle)


@pytest.mark.parametrize("call", ["write", "sync", "open_again"])
def test_the_mount_answers_while_a_write_hangs(
    files: WritableFileSystem, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    reader = files.open("/x.mrc")
    disk = HangingDisk(call)
    monkeypatch.setattr(changes, "disk", disk)
    with ThreadPoolExecutor(2) as pool:
        try:
            hanging = pool.submit(write, files, "/x.mrc", b"after!")
            assert disk.hangs.wait(SECONDS)

            def use_others() -> None:
                assert write(files, "/y.mrc", b"other!") == 6
                create(files, "/z.mrc", b"new")
                files.names.move("/z.mrc", "/w.mrc", 0)
                files.names.make_folder("/d", 0o755, CALLER)
                assert {name for name, _ in listed_in(files, "/")} == {"x.mrc", "y.mrc", "w.mrc", "d"}
                assert files.attributes("/x.mrc").size == 6
                assert len(bytes(files.read(reader, 10, 0))) == 6

            pool.submit(use_others).result(SECONDS)
            assert not hanging.done()
        finally:
            disk.released.set()
        assert hanging.result(SECONDS) == 6
    assert bytes(files.read(reader, 10, 0)) == content(files, "/x.mrc") == b"after!"
    assert (content(files, "/y.mrc"), content(files, "/w.mrc")) == (b"other!", b"new")
    files.release(reader)


def test_a_write_outlives_the_deadline_of_its_request(
    files: WritableFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that was given up could overtake a later one."""
    disk = HangingDisk("write")
    monkeypatch.setattr(changes, "disk", disk)

    handle = files.open("/x.mrc", os.O_RDWR)

    def write_in_time() -> int:
        with deadlines.within(0.01):
            return files.write(handle, memoryview(b"after!"), 0)

    with ThreadPoolExecutor(1) as pool:
        try:
            hanging: Future[int] = pool.submit(write_in_time)
            assert disk.hangs.wait(SECONDS)
            with pytest.raises(TimeoutError):
                hanging.result(0.1)
        finally:
            disk.released.set()
        assert hanging.result(SECONDS) == 6
    files.release(handle)
    assert content(files, "/x.mrc") == b"after!"


def test_a_sync_that_outlives_its_request_is_waited_for_by_the_next_one(
    files: WritableFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(HangingDisk):
        def sync(self, descriptor: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk = Failing("sync")
    monkeypatch.setattr(changes, "disk", disk)
    handle = files.open("/x.mrc", os.O_RDWR)
    files.write(handle, memoryview(b"after!"), 0)
    for _ in range(2):
        with pytest.raises(StuckError, match="sync"), deadlines.within(0.01):
            files.sync(handle)
        # the second request begins no other sync
        assert disk.hangs.is_set()
    disk.released.set()
    with pytest.raises(OSError, match="Input/output"), deadlines.within(SECONDS):
        files.sync(handle)
    monkeypatch.undo()
    with deadlines.within(SECONDS):
        files.sync(handle)
    files.release(handle)
    assert content(files, "/x.mrc") == b"after!"


def test_bytes_that_are_written_during_a_sync_are_synced_at_the_end(
    files: WritableFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HangingDisk("sync")
    monkeypatch.setattr(changes, "disk", disk)
    handle = files.open("/x.mrc", os.O_RDWR)
    files.write(handle, memoryview(b"after!"), 0)
    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(files.sync, handle)
        assert disk.hangs.wait(SECONDS)
        files.write(handle, memoryview(b"later!"), 0)
        disk.released.set()
        syncing.result(SECONDS)
    again = HangingDisk("sync")
    again.released.set()
    monkeypatch.setattr(changes, "disk", again)
    files.flush(handle)
    assert again.hangs.is_set()
    files.release(handle)


def test_a_request_waits_for_a_name_until_its_deadline(
    files: WritableFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HangingDisk("move_in")
    monkeypatch.setattr(changes, "disk", disk)
    with ThreadPoolExecutor(1) as pool:
        try:
            hanging = pool.submit(files.names.move, "/x.mrc", "/z.mrc", 0)
            assert disk.hangs.wait(SECONDS)
            for path in ("/x.mrc", "/z.mrc"):
                with pytest.raises(StuckError, match=path[1:]), deadlines.within(0.01):
                    files.open(path, os.O_RDWR)
            with pytest.raises(StuckError), deadlines.within(0.01):
                files.names.move("/x.mrc", "/y.mrc", 0)
            assert content(files, "/y.mrc") == b"before"
        finally:
            disk.released.set()
        hanging.result(SECONDS)
    # nothing was begun that the deadline ended
    assert content(files, "/z.mrc") == b"before"
    assert write(files, "/z.mrc", b"after!") == 6
