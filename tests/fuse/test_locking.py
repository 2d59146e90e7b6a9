"""The lock of a writable mount, and what it recovers before it is live."""

from pathlib import Path

import pytest

from cryofs.errors import ArchiveError
from cryofs.fuse.locking import lock_archive
from cryofs.storage.archive_lock import LOCK_NAME
from tests.storage.test_archive_lock import another
from tests.twins import add, make_twins


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK_NAME)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive that a kill has left in the middle of a step."""
    (tmp_path / "elsewhere").mkdir()
    plain, archived = make_twins(tmp_path / "above" / "archive")
    add("ingest", archived, plain)
    return plain.parent


def test_a_writable_mount_ends_the_steps_of_a_killed_one(archive: Path) -> None:
    # this machine, this boot, and no process has the lock
    another(archive)
    lock = lock_archive(archive, break_lock=False)
    assert names(archive) == ["X.mrc.tif"]
    lock.release()
    assert [path.name for path in archive.iterdir()] == ["X.mrc.tif"]


@pytest.mark.parametrize("changes", [{"host": "other", "machine": "other", "boot": "other"}, {"boot": "other"}])
def test_an_archive_in_use_on_another_machine_is_not_touched(archive: Path, changes: dict[str, str]) -> None:
    """A boot that differs is that of another machine unless the machine is known to be this one."""
    path = another(archive, **{"machine": "", **changes})
    before = names(archive)
    with pytest.raises(ArchiveError, match="pass --break-lock"):
        lock_archive(archive, break_lock=False)
    assert names(archive) == before
    assert path.exists()
    lock_archive(archive, break_lock=True).release()
    assert names(archive) == ["X.mrc.tif"]


def test_a_lock_is_released_if_the_archive_cannot_be_recovered(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryofs.fuse.locking.recover", fail)
    with pytest.raises(OSError, match="No space"):
        lock_archive(archive, break_lock=False)
    assert not (archive / LOCK_NAME).exists()
