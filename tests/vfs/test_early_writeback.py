"""Large files go to the disk while they are written; small ones, and files that are queued, are left alone."""

import errno
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.system import file_calls
from cryofs.vfs.callers import Caller
from cryofs.vfs.writable import WritableFileSystem

CALLER = Caller(os.geteuid(), os.getegid())
MIB = memoryview(bytes(1 << 20))
LIMIT_SECONDS = 30


@pytest.fixture
def files(tmp_path: Path) -> Iterator[WritableFileSystem]:
    made = WritableFileSystem(tmp_path, Settings(jobs=1))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> "queue.Queue[str]":
    """Return the names of the files whose writeback has begun."""
    names: queue.Queue[str] = queue.Queue()
    begin = file_calls.begin_writeback

    def noted(descriptor: int) -> None:
        begin(descriptor)
        names.put(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(file_calls, "begin_writeback", noted)
    return names


def write(files: WritableFileSystem, handle: int, first: int, count: int) -> None:
    for number in range(first, first + count):
        files.write(handle, MIB, number << 20)


def test_the_writeback_of_large_files_begins_while_they_are_written(
    files: WritableFileSystem, begun: "queue.Queue[str]"
) -> None:
    small, large = (files.create(f"/{name}", 0o644, os.O_RDWR, CALLER) for name in ("small", "large"))
    write(files, small, 0, 7)
    write(files, large, 0, 8)
    assert begun.get(timeout=LIMIT_SECONDS) == "large"
    write(files, large, 8, 8)
    assert begun.get(timeout=LIMIT_SECONDS) == "large"
    for handle in (small, large):
        files.release(handle)
    assert begun.empty()


def test_a_slow_disk_queues_a_file_once_and_holds_no_write(
    files: WritableFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_begun, may_end = threading.Event(), threading.Event()
    calls: list[int] = []

    def hang(descriptor: int) -> None:
        calls.append(descriptor)
        is_begun.set()
        may_end.wait(LIMIT_SECONDS)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(file_calls, "begin_writeback", hang)
    handle = files.create("/x", 0o644, os.O_RDWR, CALLER)
    write(files, handle, 0, 8)
    assert is_begun.wait(LIMIT_SECONDS)
    # one call under way, and one entry in the queue for all that follows
    write(files, handle, 8, 40)
    files.release(handle)
    may_end.set()
    files._writeback.stop()
    assert len(calls) == 2
    # its descriptors are closed, although the call failed
    for descriptor in calls:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
