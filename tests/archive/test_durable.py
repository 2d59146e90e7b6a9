"""Files and folders that are there whole or not at all, and nowhere but below the archive."""

import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from cryofs.archive.durable import make_folders, remove_stale_drafts, write_file
from cryofs.archive.folders import Folders
from cryofs.errors import ArchiveError


def test_each_folder_that_is_made_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    root = tmp_path / "new" / "archive"
    assert make_folders(root, Path("Movies/Grid1")) == root / "Movies" / "Grid1"
    assert (root / "Movies" / "Grid1").is_dir()
    assert synced == [str(place) for place in (tmp_path, root.parent, root, root / "Movies")]
    make_folders(root, Path("Movies/Grid1"))
    assert len(synced) == 4


def test_a_root_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "archive").symlink_to("disk")
    make_folders(tmp_path / "archive", Path("Movies"))
    assert (tmp_path / "disk" / "Movies").is_dir()


@pytest.mark.parametrize("points_to", ["elsewhere", "nowhere", None])
def test_a_folder_is_made_of_nothing_else(tmp_path: Path, points_to: str | None) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "archive"
    root.mkdir()
    if points_to is None:
        (root / "Movies").touch()
    else:
        (root / "Movies").symlink_to(tmp_path / points_to)
    with pytest.raises(ArchiveError, match=r"Movies: .* rename or remove it"):
        make_folders(root, Path("Movies/Grid1"))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("unsupported", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_files_are_written_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsupported: int
) -> None:
    def flock(_: object, operation: int) -> None:
        raise OSError(unsupported, os.strerror(unsupported))

    monkeypatch.setattr(fcntl, "flock", flock)
    write_file(tmp_path / "file", b"1234")
    assert (tmp_path / "file").read_bytes() == b"1234"


def test_no_draft_stays_where_locking_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="file") as caught:
        write_file(tmp_path / "file", b"1234")
    assert caught.value.filename == str(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_drafts_are_removed_where_locks_need_a_file_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def flock(file: BinaryIO, operation: int) -> None:
        if not file.writable():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".cryofs-draft-0123").write_bytes(b"left behind")
    remove_stale_drafts(tmp_path)
    assert not list(tmp_path.iterdir())


def test_errors_name_the_file_and_not_its_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_file(tmp_path / "file", b"1234")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "file"), None)


def test_a_folder_is_writable_during_a_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write anywhere
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).stat().st_mode & 0o200 != 0)
    folder = tmp_path / "Movies"
    folder.mkdir(mode=0o555)
    with Folders(tmp_path, []) as folders:
        folders.make(Path("Movies"))
        assert folder.stat().st_mode & 0o777 == 0o755
    assert folder.stat().st_mode & 0o777 == 0o555
