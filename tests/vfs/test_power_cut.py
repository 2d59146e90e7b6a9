"""What a writable mount has acknowledged survives a power cut."""

import os
from pathlib import Path
from typing import Literal

import pytest

from cryofs.system import renaming
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import CALLER, writable
from tests.power_cut import Recorder, durable, recorded

DATA = bytes(range(256)) * 40


class Promises:
    """What has to be there after a power cut from some moment on; a name may have several contents."""

    def __init__(self, recorder: Recorder):
        self._recorder = recorder
        self._kept: list[tuple[int, int | None, str, bytes]] = []

    def keep(self, name: str, data: bytes) -> None:
        """From now on."""
        self._kept.append((len(self._recorder.steps), None, name, data))

    def drop(self, name: str) -> None:
        """From now on the content may change."""
        now = len(self._recorder.steps)
        self._kept = [
            (since, now if one == name and until is None else until, one, data)
            for since, until, one, data in self._kept
        ]

    def check(self) -> None:
        """Assert that each promise is held at each moment."""
        assert self._kept
        for number in range(len(self._recorder.steps) + 1):
            found = durable(self._recorder, number)
            for since, until, name, data in self._kept:
                if since <= number and (until is None or number <= until):
                    assert found.get(name) == data, (name, number, self._recorder.steps[number - 1][0])


def write(files: WritableFileSystem, handle: int, data: bytes = DATA) -> None:
    half = len(data) // 2
    files.write(handle, memoryview(data)[half:], half)
    files.write(handle, memoryview(data)[:half], 0)


def close(files: WritableFileSystem, handle: int) -> None:
    files.flush(handle)
    files.release(handle)


@pytest.mark.parametrize("closing", ["durable", "fast"])
def test_a_file_in_new_folders(tmp_path: Path, closing: Literal["durable", "fast"]) -> None:
    with recorded(tmp_path) as recorder, writable(tmp_path, settle=1000, close=closing) as files:
        promises = Promises(recorder)
        files.names.make_folder("/new", 0o755, CALLER)
        files.names.make_folder("/new/deep", 0o755, CALLER)
        handle = files.create("/new/deep/a.mrc", 0o644, os.O_RDWR, CALLER)
        write(files, handle)
        if closing == "fast":
            files.sync(handle)
        else:
            close(files, handle)
        promises.keep("new/deep/a.mrc", DATA)
        # a folder that is renamed takes durable files along
        promises.drop("new/deep/a.mrc")
        files.names.make_folder("/other", 0o755, CALLER)
        files.names.move("/new", "/other/new", 0)
        handle = files.create("/other/new/deep/b.mrc", 0o644, os.O_RDWR, CALLER)
        write(files, handle)
        files.sync(handle)
        promises.keep("other/new/deep/a.mrc", DATA)
        promises.keep("other/new/deep/b.mrc", DATA)
        close(files, handle)
    promises.check()


def test_a_file_in_a_folder_that_was_exchanged(tmp_path: Path) -> None:
    with recorded(tmp_path) as recorder, writable(tmp_path, settle=1000) as files:
        promises = Promises(recorder)
        for name in ("/a", "/a/deep", "/b"):
            files.names.make_folder(name, 0o755, CALLER)
        files.names.move("/a", "/b", renaming.EXCHANGE)
        handle = files.create("/b/deep/a.mrc", 0o644, os.O_RDWR, CALLER)
        write(files, handle)
        close(files, handle)
        promises.keep("b/deep/a.mrc", DATA)
    promises.check()


def test_a_file_that_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_bytes(b"old")
    with recorded(tmp_path) as recorder, writable(tmp_path, settle=1000) as files:
        promises = Promises(recorder)
        handle = files.create("/.a.mrc.Xy", 0o600, os.O_RDWR | os.O_EXCL, CALLER)
        write(files, handle)
        close(files, handle)
        promises.keep(".a.mrc.Xy", DATA)
        promises.drop(".a.mrc.Xy")
        files.names.move("/.a.mrc.Xy", "/a.mrc", 0)
        files.names.sync_folder("/")
        promises.keep("a.mrc", DATA)
    promises.check()


def test_a_file_that_is_renamed_between_two_syncs(tmp_path: Path) -> None:
    with recorded(tmp_path) as recorder, writable(tmp_path, settle=1000) as files:
        promises = Promises(recorder)
        handle = files.create("/a.part", 0o600, os.O_RDWR, CALLER)
        files.sync(handle)
        files.names.move("/a.part", "/a.mrc", 0)
        write(files, handle)
        files.sync(handle)
        promises.keep("a.mrc", DATA)
        close(files, handle)
    promises.check()


def test_changes_of_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(DATA)
    with recorded(tmp_path) as recorder, writable(tmp_path, settle=1000) as files:
        promises = Promises(recorder)
        handle = files.open("/a.txt", os.O_RDWR)
        files.write(handle, memoryview(b"new"), 10)
        files.sync(handle)
        changed = DATA[:10] + b"new" + DATA[13:]
        promises.keep("a.txt", changed)
        promises.drop("a.txt")
        files.set_size("/a.txt", len(DATA) + 100, handle)
        close(files, handle)
        promises.keep("a.txt", changed + bytes(100))
    promises.check()
