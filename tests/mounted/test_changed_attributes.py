"""Programs change the attributes of archived movies through a mount, and of nothing else."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from cryofs.formats.changed_attributes import CHANGED
from tests.mounted.storing import wait_for
from tests.mounted.support import NEEDS_MOUNTS, is_gone
from tests.mounted.test_storing import server_of
from tests.support import archive, mounted, written_movie

pytestmark = NEEDS_MOUNTS
OPTIONS = ("-o", "writable,settle=1000,attr_timeout=1000,entry_timeout=1000")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The file of an archived movie, in an archive of its own."""
    written_movie(tmp_path / "session" / "X.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive" / "X.mrc.tif"


def run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True)


def about(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_atime_ns, found.st_ino


def test_programs_change_attributes_of_archived_movies(stored: Path, tmp_path: Path) -> None:
    data, before = (tmp_path / "session" / "X.mrc").read_bytes(), stored.stat()
    copy = tmp_path / "copy"
    with mounted(stored.parent, tmp_path / "mnt", *OPTIONS) as mount:
        shown = mount / "X.mrc"
        number = about(shown)[3]
        with shown.open("rb", buffering=0) as reader:
            run("chmod", "600", shown)
            # without -h, touch opens the file for writing, which makes a plain file of it
            run("touch", "-h", "-d", "2001-02-03 04:05:06.000000007 UTC", shown)
            run("sync", shown)
            os.setxattr(shown, "user.note", b"kept")
            expected = 0o600, 981173106000000007, 981173106000000007, number
            assert about(shown) == expected
            found = os.fstat(reader.fileno())
            assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_ino) == (0o600, expected[1], number)
            assert os.listxattr(shown) == ["user.note"]
            os.chmod(reader.fileno(), 0o640)  # noqa: PTH101 - of an open file
            assert about(shown)[0] == 0o640
            assert reader.read() == data
        # the archive has the same file
        hidden = (mount / "@archive" / stored.name).stat()
        assert (hidden.st_size, hidden.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert (stored.stat().st_ino, stored.stat().st_mode & 0o777) == (before.st_ino, 0o640)
        assert CHANGED in os.listxattr(stored)
        run("rsync", "-aX", f"{mount}/", copy)
        assert about(copy / "X.mrc")[:2] == (0o640, expected[1])
        assert os.listxattr(copy / "X.mrc") == ["user.note"]
        with mounted(stored.parent, tmp_path / "readers") as readers:
            assert about(readers / "X.mrc")[:2] == (0o640, expected[1])
        server = server_of(mount)
        server.send_signal(signal.SIGKILL)
        wait_for(lambda: is_gone(server.pid))
    with mounted(stored.parent, tmp_path / "again", "-o", "writable,settle=0") as again:
        wait_for(lambda: CHANGED not in os.listxattr(stored))
        assert about(again / "X.mrc")[:3] == (0o640, *expected[1:3])
        assert (again / "X.mrc").read_bytes() == data
    assert os.listxattr(stored) == ["user.note"]
