"""Room on the disk of a writable mount: a reserve stays free for drafts, and writers are refused at their own calls."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryofs.ingest.draft_room import DraftRoom
from cryofs.ingest.in_background import Ingester
from cryofs.ingest.waiting import Why
from cryofs.vfs.room import Left, Room
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import CALLER, writable
from tests.small_disk import SmallDisk, small_disk
from tests.support import header, wait_for
from tests.vfs.serving import content

MIB = 1 << 20
# 1 MiB is kept besides the largest movie
SIZE = 64 * MIB
MOVIE = 4 * MIB


def movie(size: int = MOVIE, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).poisson(1, (1, size // 512 - 2, 256)).astype("<i2")
    return header((1, *values.shape[1:]), 1) + values.tobytes()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallDisk:
    folder = tmp_path / "archive"
    folder.mkdir()
    # what is free is determined for each call
    monkeypatch.setattr("cryofs.vfs.room._SECONDS_KNOWN", -1.0)
    return small_disk(folder, SIZE, monkeypatch)


def write(files: WritableFileSystem, path: str, data: bytes) -> None:
    handle = files.create(path, 0o644, os.O_RDWR, CALLER)
    try:
        for begin in range(0, len(data), MIB):
            files.write(handle, memoryview(data[begin : begin + MIB]), begin)
    finally:
        files.release(handle)


@contextlib.contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        yield


def test_calls_that_need_room_are_refused_at_once(disk: SmallDisk) -> None:
    data = movie()
    with writable(disk.folder, settle=3600) as files:
        write(files, "/a.mrc", data)
        handle = files.open("/a.mrc", os.O_RDWR)
        text = files.create("/text", 0o644, os.O_RDWR, CALLER)
        # room for a draft of the movie, and no more
        disk.leave(MOVIE + MIB - 1)
        with refused():
            files.create("/b.mrc", 0o644, os.O_RDWR, CALLER)
        with refused():
            files.write(text, memoryview(b"text"), 0)
        with refused():
            files.write(handle, memoryview(b"more"), len(data))
        with refused():
            files.set_size("/text", 1, None)
        with refused():
            files.allocate(text, 0, 0, 1)
        assert not files.attributes("/text").size
        assert files.statistics().f_bavail == 0
        # what needs no room
        files.write(handle, memoryview(b"overwritten"), 2048)
        files.write(text, memoryview(b"from a map"), 0, is_late=True)
        files.allocate(handle, 3, 4096, 4096)
        files.names.move("/text", "/other", 0)
        files.set_size("/a.mrc", 100, None)
        files.release(handle)
        files.release(text)
        files.names.remove("/a.mrc")
        write(files, "/b.mrc", data[:MIB])
        assert content(files, "/b.mrc") == data[:MIB]


def test_few_writes_look_at_the_disk(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofs.vfs.room._SECONDS_KNOWN", 3600.0)
    with writable(disk.folder, settle=3600) as files:
        before = disk.queries
        write(files, "/a", bytes(16 * MIB))
        # only if little might be left otherwise
        assert disk.queries - before <= 3
        with refused():
            write(files, "/b", bytes(48 * MIB))


def test_a_movie_that_is_written_leaves_room_for_its_draft(disk: SmallDisk) -> None:
    disk.leave(20 * MIB)
    with writable(disk.folder, settle=3600) as files:
        with refused():
            write(files, "/a.mrc", bytes(12 * MIB))
        assert 6 * MIB < files.attributes("/a.mrc").size < 10 * MIB
        handle = files.open("/a.mrc", os.O_RDWR)
        with refused():
            files.allocate(handle, 0, 0, 12 * MIB)
        files.release(handle)
        # a file of another kind needs only its own room
        files.names.remove("/a.mrc")
        write(files, "/text", bytes(12 * MIB))


def test_the_reserve_may_be_set(disk: SmallDisk) -> None:
    with writable(disk.folder, settle=3600, reserve=8 * MIB) as files:
        disk.leave(10 * MIB)
        assert files.statistics().f_bavail * files.statistics().f_frsize == 2 * MIB
        with refused():
            write(files, "/a.mrc", bytes(4 * MIB))
        assert files.attributes("/a.mrc").size == 2 * MIB
    with writable(disk.folder, settle=3600, reserve=0) as files:
        disk.leave(0)
        write(files, "/b.mrc", bytes(100))


def test_a_thaw_needs_room_for_the_original(disk: SmallDisk) -> None:
    data = movie()
    with writable(disk.folder, settle=0) as files:
        write(files, "/a.mrc", data)
        wait_for(lambda: [path.name for path in disk.folder.iterdir()] == ["a.mrc.tif"])
    with writable(disk.folder, settle=3600) as files:
        disk.leave(2 * MOVIE)
        for change in (lambda: files.open("/a.mrc", os.O_RDWR), lambda: files.names.move("/a.mrc", "/a.bak", 0)):
            with refused():
                change()
        assert content(files, "/a.mrc") == data
        assert [path.name for path in disk.folder.iterdir()] == ["a.mrc.tif"]
        disk.leave(2 * MOVIE + MIB)
        files.release(files.open("/a.mrc", os.O_RDWR))
        disk.leave(0)
    with writable(disk.folder, settle=3600) as files:
        files.release(files.open("/a.mrc", os.O_RDWR | os.O_TRUNC))
        assert files.attributes("/a.mrc").size == 0


def test_writers_are_slowed_before_they_are_refused(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = memoryview(bytes(MIB))
    waits: list[float] = []
    with writable(disk.folder, settle=3600) as files:
        monkeypatch.setattr(files._room._changed, "wait", waits.append)
        text = files.create("/text", 0o644, os.O_RDWR, CALLER)
        disk.leave(3 * MIB // 2)
        files.write(text, memoryview(b"text"), 0)
        disk.leave(SIZE)
        # no movie waits that could free any
        assert not waits
        write(files, "/a.mrc", movie())
        disk.leave(2 * (MOVIE + MIB) - 1)
        files.write(text, piece, MIB)
        files.write(text, piece[:1024], MIB)
        disk.leave(MOVIE + 2 * MIB)
        files.write(text, piece, 2 * MIB)
        files.attributes("/a.mrc")
        content(files, "/a.mrc")
        little, small, much = waits
        assert 0 < small < little < 0.25
        assert 0.75 < much <= 1


def test_movies_whose_drafts_fit_come_first(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Ingester] = []
    begin = Ingester.__init__

    def begun(self: Ingester, *arguments: Any) -> None:
        found.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(Ingester, "__init__", begun)
    big, small = movie(2 * MOVIE), movie(MOVIE // 2, 1)
    (disk.folder / "a.mrc").write_bytes(big)
    (disk.folder / "b.mrc").write_bytes(small)
    disk.leave(2 * MIB)
    with writable(disk.folder, settle=0) as files:
        wait_for(lambda: (disk.folder / "b.mrc.tif").exists() and not (disk.folder / "b.mrc").exists())
        place = files.names.place("/a.mrc")
        wait_for(lambda: [one.why for one in found[0].waiting.snapshot().values()] == [Why.ROOM])
        assert place in found[0].waiting.snapshot()
        disk.leave(10 * MIB)
        wait_for(lambda: (disk.folder / "a.mrc.tif").exists() and not (disk.folder / "a.mrc").exists())
        assert (content(files, "/a.mrc"), content(files, "/b.mrc")) == (big, small)


class Fixed(Room):
    """Room of which a test sets what is left."""

    now = Left(0, 0, 0, waits=True)

    def left(self) -> Left:
        return self.now


@pytest.fixture
def room() -> Fixed:
    return Fixed(-1, None, list)


def test_all_drafts_fit_unless_room_is_scarce(room: Fixed) -> None:
    room.now = Left(200, 100, 90, waits=True)
    assert DraftRoom(room).largest() == float("inf")


def test_drafts_under_way_need_their_room_too(room: Fixed, tmp_path: Path) -> None:
    room.now = Left(100, 100, 90, waits=True)
    drafts = DraftRoom(room)
    # nothing is known of others yet
    assert drafts.largest() == 200
    drafts.begin(tmp_path, 90)
    assert 105 < drafts.largest() < 115
    drafts.end(tmp_path, 18)
    # they become as small as the last ones
    assert drafts.largest() > 400
    drafts.begin(tmp_path, 90)
    drafts.did_not_fit(tmp_path)
    assert 100 < drafts.largest() < 110


def test_a_draft_is_tried_if_none_seems_to_fit(room: Fixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room.now = Left(100, 100, 90, waits=True)
    monkeypatch.setattr("cryofs.ingest.draft_room._SECONDS_UNTIL_TRY", -1.0)
    drafts = DraftRoom(room)
    assert drafts.largest() == float("inf")
    drafts.begin(tmp_path, 90)
    assert drafts.largest() < 200


def test_slowed_writers_go_on_once_there_is_room(room: Fixed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cryofs.vfs.room._LONGEST_WAIT", 60.0)
    room.now = Left(3 * MIB, 2 * MIB, MIB, waits=True)
    with (tmp_path / "file").open("wb") as file:
        take: Callable[[], None] = lambda: room.take(file.fileno(), 0, MIB, is_movie=False)  # noqa: E731
        writer = threading.Thread(target=take)
        writer.start()
        wait_for(lambda: room._slowed)
        room.freed()
        writer.join(30)
        assert not writer.is_alive()
