"""Drafts and locks: left over only if their process has ended, or is unknown and has not written for a day."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryofs.errors import ArchiveError
from cryofs.storage import file_lock, ownership
from cryofs.storage.atomic_file import DRAFT_PREFIX, draft, remove_stale_drafts
from cryofs.storage.checksum_lists import LIST_NAME, read_list, update
from cryofs.storage.file_lock import LOCK_SUFFIX, locked

ONE = "1" * 64
LOCK_NAME = LIST_NAME + LOCK_SUFFIX
DAY = 24 * 3600


def made_by(pid: int, *, host: str | None = None) -> str:
    """The name of a draft of another process."""
    own = ownership.new_name()
    ownership.release(own)
    mine, space, _, _, token = own.rsplit("-", 4)
    return f"{DRAFT_PREFIX}{host or mine}-{space}-{pid}-{ownership._start(pid)}-{token}"


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_over(folder: Path, name: str, age: float = 0) -> bool:
    """Whether a draft of this name and age is removed."""
    (folder / name).write_bytes(b"left behind")
    os.utime(folder / name, (time.time() - age,) * 2)
    remove_stale_drafts(folder)
    return not (folder / name).exists()


def test_a_draft_names_its_host_and_process(tmp_path: Path) -> None:
    with draft(tmp_path / "a") as made:
        assert f"-{os.getpid()}-" in made.path.name
        assert os.uname().nodename[:20] in made.path.name


def test_drafts_of_ended_processes_are_removed(tmp_path: Path, ended: int) -> None:
    assert left_over(tmp_path, made_by(ended))
    assert not left_over(tmp_path, made_by(os.getppid()), age=2 * DAY)


def test_a_process_with_the_number_of_an_ended_one_has_another_start(tmp_path: Path) -> None:
    name = made_by(os.getppid())
    start = str(ownership._start(os.getppid()))
    assert left_over(tmp_path, name.replace(f"-{start}-", f"-{int(start) + 1}-"))


def test_a_zombie_has_ended(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    name = made_by(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert left_over(tmp_path, name)
    process.wait()


@pytest.mark.parametrize("name", ["another-host", "0123456789abcdef"])
def test_drafts_of_other_hosts_are_left_for_a_day(tmp_path: Path, ended: int, name: str) -> None:
    name = made_by(ended, host=name) if "host" in name else DRAFT_PREFIX + name
    assert not left_over(tmp_path, name, age=DAY / 2)
    assert left_over(tmp_path, name, age=DAY + 60)


def test_a_process_removes_its_own_drafts_that_it_does_not_use(tmp_path: Path) -> None:
    assert left_over(tmp_path, made_by(os.getpid()))
    with draft(tmp_path / "a") as made:
        remove_stale_drafts(tmp_path)
        assert made.path.exists()


def test_the_lock_of_an_ended_process_is_broken_at_once(tmp_path: Path, ended: int) -> None:
    (tmp_path / LOCK_NAME).write_text(made_by(ended).removeprefix(DRAFT_PREFIX))
    update(tmp_path, {"a": ONE})
    assert read_list(tmp_path) == {"a": ONE}
    assert [path.name for path in tmp_path.iterdir()] == [LIST_NAME]


@pytest.mark.parametrize("owner", ["another host", ""])
def test_the_lock_of_an_unknown_process_is_broken_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    monkeypatch.setattr(file_lock, "_PATIENCE", 0.3)
    monkeypatch.setattr(file_lock, "_PATIENCE_EMPTY", 0.3)
    (tmp_path / LOCK_NAME).write_text(owner)
    begun = time.monotonic()
    with locked(tmp_path / LIST_NAME):
        assert time.monotonic() - begun >= 0.3
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_taken_over_is_noticed_and_left(tmp_path: Path) -> None:
    with locked(tmp_path / LIST_NAME) as check:
        check()
        (tmp_path / LOCK_NAME).write_text("another run")
        with pytest.raises(ArchiveError, match="only-do-unfinished"):
            check()
    assert (tmp_path / LOCK_NAME).read_text() == "another run"


def test_a_lock_taken_while_another_process_broke_it_is_put_back(tmp_path: Path) -> None:
    seen = (0, 0, "ended")
    (tmp_path / LOCK_NAME).write_text("another run")
    file_lock._break(tmp_path / LOCK_NAME, seen)
    assert (tmp_path / LOCK_NAME).read_text() == "another run"
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
