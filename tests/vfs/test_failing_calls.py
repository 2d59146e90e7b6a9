"""A failing call of a change of plain files: its program gets the error, nothing is left behind, and a retry works."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.storage import changes
from cryofs.storage.atomic_file import OWN_PREFIX
from cryofs.storage.checksum_lists import set_seen
from cryofs.storage.hashing import hash_file
from cryofs.system.renaming import EXCHANGE
from cryofs.vfs.changing import AttributeChange
from cryofs.vfs.writable import WritableFileSystem
from tests.failing_disk import FailingDisk
from tests.ingest.mounts import CALLER, writable
from tests.vfs.serving import content

Tree = dict[str, bytes | str | None]


def create(files: WritableFileSystem) -> None:
    files.release(files.create("/new", 0o640, os.O_RDWR, CALLER))


def cut(files: WritableFileSystem) -> None:
    files.set_size("/x.mrc", 3, None)


def set_mode(files: WritableFileSystem) -> None:
    files.set_attributes("/x.mrc", AttributeChange(mode=0o600), None)


CASES: dict[str, Callable[[WritableFileSystem], object]] = {
    "create": create,
    "cut": cut,
    "mode": set_mode,
    "folder": lambda files: files.names.make_folder("/new", 0o750, CALLER),
    "link": lambda files: files.names.link_to("x.mrc", "/new", CALLER),
    "attribute": lambda files: files.attribute_changes.set_extended("/x.mrc", "user.note", b"1"),
    "remove": lambda files: files.names.remove("/x.mrc"),
    "remove folder": lambda files: files.names.remove_folder("/d"),
    "rename": lambda files: files.names.move("/x.mrc", "/y", 0),
    "rename folder": lambda files: files.names.move("/d", "/e", 0),
    "exchange": lambda files: files.names.move("/x.mrc", "/y", EXCHANGE),
}


def tree(folder: Path) -> Tree:
    """The files, links and folders that are there, without those of cryofs: a lock may stay until it is taken again."""
    return {
        path.name: str(path.readlink()) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
        for path in folder.iterdir()
        if not path.name.startswith(OWN_PREFIX)
    }


@pytest.mark.parametrize("case", CASES)
def test_a_failing_call_of_a_change(tmp_path: Path, case: str) -> None:
    number, calls = 0, 0
    after: Tree = {}
    while number <= calls:
        folder = tmp_path / str(number)
        (folder / "d").mkdir(parents=True)
        for name in ("x.mrc", "y"):
            (folder / name).write_bytes(name.encode() * 10)
            hashed = hash_file(folder / name, lambda _: None)
            set_seen(folder / name, hashed.sha256, hashed.found)
        before = tree(folder)
        disk = FailingDisk(number or 10**6, errno.EIO, for_good=False)
        with writable(folder, close="fast", settle=86400) as files:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(changes, "disk", disk)
                has_failed = False
                try:
                    CASES[case](files)
                except OSError as error:
                    has_failed = error.errno == errno.EIO
            calls = max(calls, disk.calls)
            found = tree(folder)
            after = after or found
            assert found == after or (has_failed and found == before), (number, found)
            # the error is not that of the next request
            if found == before:
                CASES[case](files)
                assert tree(folder) == after, number
            for name, data in after.items():
                if isinstance(data, bytes):
                    assert content(files, f"/{name}") == data
        number += 1
    assert calls
