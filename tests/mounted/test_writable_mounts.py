"""Which mounts may write, and how many."""

from pathlib import Path

import pytest

from tests.mounted.support import NEEDS_MOUNTS, wait_for_unlocked
from tests.support import cryofs, mounted

pytestmark = NEEDS_MOUNTS


def refused(path: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system"):
        path.write_bytes(b"")


def test_an_archive_has_one_writable_mount(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    with mounted(archive, tmp_path / "mnt", "--writable"), mounted(archive, tmp_path / "reading") as reading:
        (tmp_path / "other").mkdir()
        for command in (
            ("mount", archive, tmp_path / "other", "--writable"),
            ("ingest", archive),
            ("compress", reading, "-o", archive),
        ):
            done = cryofs(*command, check=False)
            assert done.returncode != 0
            assert "writable mount" in done.stderr
        refused(reading / "x")
    wait_for_unlocked(archive)


def test_rw_alone_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with mounted(tmp_path / "archive", tmp_path / "mnt", "-o", "rw") as mount:
        refused(mount / "x")


@pytest.mark.parametrize("option", ["--writable", "-oro"])
def test_a_mount_is_no_archive_to_change(tmp_path: Path, option: str) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    source.mkdir()
    archive.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    with mounted(archive, tmp_path / "mnt", option) as mount:
        for command in (("ingest", mount), ("compress", source, "-o", mount), ("mount", "--writable", mount, other)):
            done = cryofs(*command, check=False)
            assert done.returncode == 1
            assert f"{mount}: not an archive (got a cryofs mount)" in done.stderr
