"""Files and folders that are there whole or not at all, and nowhere but below the archive."""

import os
from pathlib import Path

import pytest

from cryofs.archive.durable import make_folders
from cryofs.errors import ArchiveError


def test_each_folder_that_is_made_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
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
    with pytest.raises(ArchiveError, match="Movies: .* rename or remove it"):
        make_folders(root, Path("Movies/Grid1"))
    assert not list((tmp_path / "elsewhere").iterdir())
