"""A full disk, a failing call or a failing sync at each call of a change in a writable mount.

The mount lives on. Whatever failed, it shows the old state or the new one, open handles keep their bytes, later writes
are kept, and the next start finds them.
"""

import errno
import os
import shutil
from pathlib import Path

import pytest

from cryofs.archive.recovery import recover
from cryofs.errors import CryofsError
from cryofs.storage import changes
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.system.renaming import EXCHANGE
from cryofs.vfs.changing import AttributeChange
from cryofs.vfs.writable import WritableFileSystem
from tests.failing_disk import FailingDisk
from tests.ingest.mounts import CALLER, Change, archive_now, shown, writable
from tests.support import archive, written_movie
from tests.vfs.serving import content

NAMES = ("a.mrc", "b.mrc")


def thaw(files: WritableFileSystem) -> None:
    files.release(files.open("/a.mrc", os.O_RDWR))


def move(files: WritableFileSystem) -> None:
    files.names.move("/a.mrc", "/b.mrc", 0)


def exchange(files: WritableFileSystem) -> None:
    files.names.move("/a.mrc", "/b.mrc", EXCHANGE)


def to_other_kind(files: WritableFileSystem) -> None:
    files.names.move("/a.mrc", "/a.bak", 0)


def remove(files: WritableFileSystem) -> None:
    files.names.remove("/a.mrc")


def ingest(files: WritableFileSystem) -> None:
    archive_now(files, "a.mrc")


def set_mode(files: WritableFileSystem) -> None:
    files.set_attributes("/a.mrc", AttributeChange(mode=0o640, mtime_ns=5), None)


PLAIN, ARCHIVED = "plain", "archived"
# what changes, the forms of both names before (None: absent), and the sources of the names afterwards
CASES: dict[str, tuple[Change, tuple[str | None, str | None], dict[str, str]]] = {
    "thaw": (thaw, (ARCHIVED, None), {"a.mrc": "a.mrc"}),
    "ingest": (ingest, (PLAIN, None), {"a.mrc": "a.mrc"}),
    "set mode": (set_mode, (ARCHIVED, None), {"a.mrc": "a.mrc"}),
    "remove archived": (remove, (ARCHIVED, None), {}),
    "remove plain": (remove, (PLAIN, None), {}),
    "to another kind": (to_other_kind, (ARCHIVED, None), {"a.bak": "a.mrc"}),
    **{
        f"move {source} over {target}": (move, (source, target), {"b.mrc": "a.mrc"})
        for source in (PLAIN, ARCHIVED)
        for target in (None, PLAIN, ARCHIVED)
    },
    **{
        f"exchange {source} and {target}": (exchange, (source, target), {"a.mrc": "b.mrc", "b.mrc": "a.mrc"})
        for source in (PLAIN, ARCHIVED)
        for target in (PLAIN, ARCHIVED)
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failing")
    for seed, name in enumerate(NAMES):
        written_movie(folder / "session" / name, seed)
    archive(folder / "session", folder / "archive")
    return folder


def seen(files: WritableFileSystem, names: set[str]) -> dict[str, bytes]:
    """The bytes that a mount shows of some names."""
    found = {}
    for name in sorted(names):
        try:
            found[name] = content(files, f"/{name}")
        except FileNotFoundError:
            continue
    return found


def write(files: WritableFileSystem, name: str, old: bytes) -> bytes:
    """Write into a file; return its new bytes."""
    handle = files.open(f"/{name}", os.O_RDWR)
    assert files.write(handle, memoryview(b"changed"), 2000) == 7
    files.sync(handle)
    files.release(handle)
    return old[:2000] + b"changed" + old[2007:]


# the changes that need room
GROWING = ["thaw", "ingest", "move plain over archived", "move archived over plain"]


@pytest.mark.parametrize(
    ("case", "code", "for_good"),
    [*((case, errno.EIO, False) for case in CASES), *((case, errno.ENOSPC, True) for case in GROWING)],
)
def test_a_failing_call_loses_nothing(made: Path, tmp_path: Path, case: str, code: int, for_good: bool) -> None:
    change, forms, sources = CASES[case]
    originals = {name: (made / "session" / name).read_bytes() for name in NAMES}
    before = {name: originals[name] for name, form in zip(NAMES, forms, strict=True) if form}
    after = {name: originals[source] for name, source in sources.items()}
    # the first run fails nowhere, and counts the calls
    number, calls = 0, 0
    while number <= calls:
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, form in zip(NAMES, forms, strict=True):
            if form:
                stored = f"archive/{name}.tif" if form == ARCHIVED else f"session/{name}"
                shutil.copy2(made / stored, folder)
        disk = FailingDisk(number or 10**6, code, for_good=for_good)
        with writable(folder, settle=1000) as files:
            readers = {name: files.open(f"/{name}") for name in before}
            has_failed = False
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(changes, "disk", disk)
                try:
                    change(files)
                except (CryofsError, OSError):
                    has_failed = True
            calls = max(calls, disk.calls)
            moment = f"call {number} of {disk.calls}, failed: {has_failed}"
            found = seen(files, {*before, *after})
            assert found == after or (has_failed and found == before), moment
            for name, reader in readers.items():
                assert bytes(files.read(reader, 10**6, 0)) == before[name], moment
            for name in found:
                found[name] = write(files, name, found[name])
            # a new file gets a name that was left
            for name in set(before) - set(found):
                handle = files.create(f"/{name}", 0o644, os.O_RDWR, CALLER)
                files.write(handle, memoryview(b"new"), 0)
                files.release(handle)
                found[name] = b"new"
            assert seen(files, {*before, *after}) == found, moment
            for reader in readers.values():
                files.release(reader)
        for _ in range(2):
            recover(folder, pytest.fail)
        assert shown(folder) == found, moment
        assert [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != LIST_NAME] == []
        number += 1
