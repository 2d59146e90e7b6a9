"""A power cut at any call of a writable mount: what a sync or a close has acknowledged is there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.vfs.callers import Caller
from cryofs.vfs.writable import WritableFileSystem
from tests.power_cut_mount import MountRecorder, cuts, mount_recorded
from tests.vfs.serving import started

CALLER = Caller(os.geteuid(), os.getegid())
Use = Callable[[WritableFileSystem, MountRecorder], None]


def created(files: WritableFileSystem, path: str) -> int:
    return files.create(path, 0o644, os.O_RDWR, CALLER)


def syncs(files: WritableFileSystem, recorder: MountRecorder) -> None:
    """Write a file in a new folder of a new folder, with a sync now and then."""
    files.names.make_folder("/d", 0o755, CALLER)
    files.names.make_folder("/d/e", 0o755, CALLER)
    handle, data = created(files, "/d/e/x.mrc"), b""
    for number in range(6):
        files.write(handle, memoryview(bytes([number]) * 1000), len(data))
        data += bytes([number]) * 1000
        if number % 2:
            files.sync(handle)
            recorder.promise("d/e/x.mrc", data)
    files.release(handle)


def closes(files: WritableFileSystem, recorder: MountRecorder) -> None:
    """Close files of several folders, of which two are new."""
    for path in ("/a", "/d/b", "/d/e/c.mrc", "/d/e/f"):
        if path == "/d/b":
            files.names.make_folder("/d", 0o755, CALLER)
            files.names.make_folder("/d/e", 0o755, CALLER)
        handle = created(files, path)
        files.write(handle, memoryview(path.encode()), 0)
        files.flush(handle)
        files.release(handle)
        recorder.promise(path[1:], path.encode())


def renames(files: WritableFileSystem, recorder: MountRecorder) -> None:
    """Replace a file as editors do, and as rsync does: the new file is synced, renamed, and its folder synced."""
    for number in range(3):
        handle = created(files, "/.x.part")
        files.write(handle, memoryview(b"%d" % number * 100), 0)
        files.sync(handle)
        files.release(handle)
        files.names.move("/.x.part", "/x.mrc", 0)
        files.names.sync_folder("/")
        recorder.promise("x.mrc", b"%d" % number * 100)


def moves_a_folder(files: WritableFileSystem, recorder: MountRecorder) -> None:
    """Sync a file after its folder was renamed, and after the file was."""
    files.names.make_folder("/d", 0o755, CALLER)
    files.names.make_folder("/d/e", 0o755, CALLER)
    handle = created(files, "/d/e/x.mrc")
    files.write(handle, memoryview(b"abc"), 0)
    files.names.move("/d", "/g", 0)
    files.sync(handle)
    recorder.promise("g/e/x.mrc", b"abc")
    files.release(handle)
    handle = created(files, "/y")
    files.names.move("/y", "/z", 0)
    files.write(handle, memoryview(b"abc"), 0)
    files.sync(handle)
    recorder.promise("z", b"abc")
    files.release(handle)


@pytest.mark.parametrize("use", [syncs, closes, renames, moves_a_folder])
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path, use: Use) -> None:
    (tmp_path / "archive").mkdir()
    made = WritableFileSystem(tmp_path / "archive", Settings(jobs=1))
    with started(made), mount_recorded(tmp_path / "archive") as recorder:
        use(made, recorder)
    final: dict[str, bytes] = {}
    assert recorder.promises
    for number, found in cuts(recorder):
        due = {name: data for steps, name, data in recorder.promises if steps <= number}
        for name, data in due.items():
            assert (found.get(name) or b"").startswith(data) or name == "x.mrc", (number, name)
            assert found.get(name) is not None, (number, name)
            # a file that was replaced is the old or the new one
            if name == "x.mrc":
                later = [bytes_ for _, _, bytes_ in recorder.promises]
                assert found[name] in later[later.index(data) :], number
        final = due
    assert final
