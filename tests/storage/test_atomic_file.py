"""Files and folders that are there whole or not at all, and nowhere but below the archive."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.compress.folders import Folders
from cryofs.errors import ArchiveError
from cryofs.storage.atomic_file import write_file
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.storage.folders import make_folders
from tests.foreign import counts, serialem
from tests.outcomes import adopted
from tests.support import archive, restored, simulated


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


class Disk:
    """What a power cut would leave: files that were synced before they got their names, their folder at once after."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.kept: list[str] = []
        self._synced: dict[int, tuple[int, int]] = {}
        self._named: Path | None = None
        fsync = os.fsync

        def noting(descriptor: int) -> None:
            fsync(descriptor)
            found = os.fstat(descriptor)
            self._synced[found.st_ino] = (found.st_size, found.st_ctime_ns)
            place = Path(f"/proc/self/fd/{descriptor}").readlink()
            if self._named is not None and self._named.parent == place:
                self.kept.append(self._named.name)
                self._named = None

        patch.setattr(os, "fsync", noting)
        for name in ("link", "rename", "replace"):
            patch.setattr(os, name, self._naming(getattr(os, name)))

    def _naming(self, call: Callable[..., None]) -> Callable[..., None]:
        def named(source: Path, target: Path) -> None:
            found = os.lstat(source)
            call(source, target)
            # a link has nothing to be synced; all that is done to a file after its sync moves its time of change
            is_synced = self._synced.get(found.st_ino) == (found.st_size, found.st_ctime_ns)
            self._named = Path(target) if is_synced or stat.S_ISLNK(found.st_mode) else None

        return named


def test_files_are_on_the_disk_before_they_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a gain reference before the movies that name it."""
    simulated(tmp_path / "session" / "a.mrc", frames=20)
    simulated(tmp_path / "session" / "b.mrc", frames=20, seed=1)
    (tmp_path / "session" / "notes.txt").write_text("300 kV")
    (tmp_path / "session" / "link").symlink_to("a.mrc")
    disk = Disk(monkeypatch)
    archive(tmp_path / "session", tmp_path / "archive")
    assert disk.kept == ["gain-reference.mrc", "a.mrc.tif", "b.mrc.tif", LIST_NAME, "link", "notes.txt", LIST_NAME]
    disk.kept.clear()
    restored(tmp_path / "archive", tmp_path / "restored")
    assert disk.kept == ["a.mrc", "b.mrc", "link", "notes.txt"]


def test_an_adopted_movie_is_on_the_disk_before_it_replaces_the_tiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = serialem(tmp_path / "a.tif", counts())
    disk = Disk(monkeypatch)
    assert adopted(path)[0].movies == 1
    assert disk.kept == ["a.tif"]
