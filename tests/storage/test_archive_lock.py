"""The lock of an archive: who excludes whom, and which holders count."""

import fcntl
import io
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cryofs.errors import ArchiveError
from cryofs.storage import archive_lock, changes
from cryofs.storage.archive_lock import LOCK_NAME, Activity, ArchiveLock, holders
from cryofs.storage.changes import Disk

EXCLUSIVE, SHARED = Activity.INGEST, Activity.COMPRESS


def another(archive: Path, **changes: object) -> Path:
    """The file of a holder that no process has locked."""
    folder = archive / LOCK_NAME
    folder.mkdir()
    with ArchiveLock(archive.parent.parent / "elsewhere", Activity.MOUNT) as lock:
        data = msgspec.json.decode(lock._path.read_bytes())
    path = folder / "0123"
    path.write_bytes(msgspec.json.encode(data | changes))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "above" / "archive"
    (folder / "below").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("first", [EXCLUSIVE, SHARED])
@pytest.mark.parametrize("second", [EXCLUSIVE, SHARED])
@pytest.mark.parametrize("place", ["", "..", "below"])
def test_an_exclusive_holder_excludes_all_others(archive: Path, first: Activity, second: Activity, place: str) -> None:
    other = (archive / place).resolve()
    with ArchiveLock(archive, first):
        if first is second is SHARED:
            with ArchiveLock(other, second) as lock:
                assert not lock.is_alone
        else:
            with pytest.raises(ArchiveError, match=f"in use by {first.value} .process {os.getpid()} on "):
                ArchiveLock(other, second)
            assert not (other / LOCK_NAME).exists() or other == archive
    # nothing is left
    assert not list(archive.parent.rglob(LOCK_NAME))
    with ArchiveLock(other, second) as lock:
        assert lock.is_alone


def test_a_killed_holder_does_not_count(archive: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from cryofs.storage.archive_lock import Activity, ArchiveLock
lock = ArchiveLock(Path({str(archive)!r}), Activity.MOUNT)
print("held", flush=True)
sys.stdin.read()
os._exit(1)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ArchiveError, match=f"writable mount .process {process.pid} on "):
            ArchiveLock(archive, SHARED)
        assert [holder.activity for holder in holders(archive)] == ["writable mount"]
        process.kill()
    assert not holders(archive)
    with ArchiveLock(archive, EXCLUSIVE) as lock:
        assert lock.is_alone
        assert len(list((archive / LOCK_NAME).iterdir())) == 1


def test_a_process_number_does_not_keep_a_holder_alive(archive: Path) -> None:
    path = another(archive, process=os.getpid())
    with ArchiveLock(archive, EXCLUSIVE) as lock:
        assert lock.is_alone
        assert not path.exists()


def test_a_holder_before_the_last_start_of_this_machine_does_not_count(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_lock, "_machine_id", lambda: "this machine")
    another(archive, boot="an earlier one")
    with ArchiveLock(archive, EXCLUSIVE) as lock:
        assert lock.is_alone


@pytest.mark.parametrize("activity", [EXCLUSIVE, SHARED])
def test_a_holder_on_another_machine_counts_until_its_lock_is_broken(archive: Path, activity: Activity) -> None:
    path = another(archive, host="other", machine="other", boot="other")
    with pytest.raises(ArchiveError, match=r"on other, since .*--break-lock"):
        ArchiveLock(archive, activity)
    assert path.exists()
    with ArchiveLock(archive, activity, break_lock=True) as lock:
        assert lock.is_alone
        assert not path.exists()


def test_a_living_holder_cannot_be_broken(archive: Path) -> None:
    with ArchiveLock(archive, EXCLUSIVE), pytest.raises(ArchiveError, match="in use by"):
        ArchiveLock(archive, EXCLUSIVE, break_lock=True)


def test_a_file_that_is_not_a_lock_counts(archive: Path) -> None:
    (archive / LOCK_NAME).mkdir()
    (archive / LOCK_NAME / "strange").write_text("?")
    with pytest.raises(ArchiveError, match="not a valid lock"):
        ArchiveLock(archive, SHARED)
    assert [path.name for path in (archive / LOCK_NAME).iterdir()] == ["strange"]


def test_the_draft_of_a_killed_holder_is_removed(archive: Path) -> None:
    (archive / LOCK_NAME).mkdir()
    (archive / LOCK_NAME / ".0123").touch()
    ArchiveLock(archive, SHARED).release()
    assert not (archive / LOCK_NAME).exists()


def test_a_draft_that_another_process_takes_for_stale_is_made_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    class Meeting(Disk):
        def create(self, path: Path) -> io.BufferedRandom:
            file = super().create(path)
            if not taken:
                taken.append(path)
                fcntl.flock(other := path.open("rb"), fcntl.LOCK_SH | fcntl.LOCK_NB)
                opened.append(other)
                path.unlink()
            return file

    opened: list[io.BufferedReader] = []
    monkeypatch.setattr(changes, "disk", Meeting())
    with ArchiveLock(archive, Activity.COMPRESS) as lock:
        assert lock.is_alone
        assert len(holders(archive)) == 1
        assert taken[0].name not in os.listdir(archive / LOCK_NAME)
    opened[0].close()
    assert not (archive / LOCK_NAME).exists()


def test_the_folder_has_the_mode_of_the_archive(archive: Path) -> None:
    archive.chmod(0o2770)
    with ArchiveLock(archive, SHARED):
        assert (archive / LOCK_NAME).stat().st_mode & 0o7777 == 0o2770
