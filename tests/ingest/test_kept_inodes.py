"""A name keeps its inode number when a step about it fails at any call, and shares it with no other."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from cryofs.errors import CryofsError
from cryofs.storage import changes
from cryofs.vfs.writable import WritableFileSystem
from tests.failing_disk import FailingDisk
from tests.ingest.mounts import CALLER, Change, archive_now, writable
from tests.support import archive, written_movie


def thaw(files: WritableFileSystem) -> None:
    files.release(files.open("/X.mrc", os.O_RDWR))


def ingest(files: WritableFileSystem) -> None:
    archive_now(files, "X.mrc")


@pytest.mark.parametrize(("change", "back", "stored"), [(thaw, ingest, "archive/X.mrc.tif"), (ingest, thaw, "X.mrc")])
def test_a_failing_call_keeps_the_inode_number(tmp_path: Path, change: Change, back: Change, stored: str) -> None:
    written_movie(tmp_path / "X.mrc")
    archive(tmp_path / "X.mrc", tmp_path / "archive")
    number = failed = 0
    is_left = True
    while is_left:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy2(tmp_path / stored, folder)
        disk = FailingDisk(number, errno.EIO, for_good=False)
        with writable(folder, settle=1000) as files:
            reader = files.open("/X.mrc")
            before = files.attributes("/X.mrc").inode
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(CryofsError, OSError):
                patch.setattr(changes, "disk", disk)
                failed += 1
                change(files)
                failed -= 1
            seen = {}
            for step, next_change in enumerate((lambda _: None, change, back, change)):
                # it may have been done in spite of the failure
                with contextlib.suppress(CryofsError, OSError):
                    next_change(files)
                files.release(files.create(f"/{step}", 0o644, os.O_EXCL, CALLER))
                seen[step] = files.attributes(f"/{step}").inode
                assert files.attributes("/X.mrc").inode == files.open_attributes(reader).inode == before, number
                assert len({before, *seen.values()}) == len(seen) + 1, number
                assert seen == {name: files.attributes(f"/{name}").inode for name in seen}
            files.release(reader)
        is_left = disk.calls >= number
    assert failed > 5
