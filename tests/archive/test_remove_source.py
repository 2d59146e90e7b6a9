"""Sources are removed only when the archive holds them: what stays, and why."""

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.archive import remove_source
from tests.archive.comparing import compared, entries, flip_last_byte
from tests.outcomes import extracted
from tests.support import archive, names, same_tree, simulated, wait_for


def test_all_that_is_equal_is_removed_and_comes_back(small: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = small
    shutil.copytree(source, tmp_path / "copy", symlinks=True)
    done, watcher = compared(source, target, remove_source=True)
    assert (done.all_equal, done.equal, done.removed) == (True, 7, 7)
    assert watcher.done == watcher.total
    # the folder that was named stays
    assert source.is_dir()
    assert entries(source) == []
    again, _ = compared(source, target, remove_source=True)
    assert (again.all_equal, again.equal, again.not_in_source) == (True, 0, 8)
    assert not compared(source, target)[0].all_equal
    extracted(target, to=tmp_path / "back")
    same_tree(tmp_path / "copy", tmp_path / "back")


def test_what_differs_or_is_new_stays(small: tuple[Path, Path]) -> None:
    source, target = small
    flip_last_byte(source / "Movies" / "a.mrc")
    (source / "Movies" / "c.mrc").write_bytes(b"arriving")
    (source / "empty" / "inner").chmod(0o700)
    (source / ".cryofs-draft-left").touch()
    done, _ = compared(source, target, remove_source=True)
    assert (done.removed, len(done.missing)) == (6, 2)
    assert [one.path.name for one in done.differing] == ["inner", "a.mrc"]
    assert entries(source) == [
        ".cryofs-draft-left",
        "Movies",
        "Movies/a.mrc",
        "Movies/c.mrc",
        "empty",
        "empty/inner",
    ]
    # a run after the times of folders have changed has nothing else to report
    again, _ = compared(source, target, remove_source=True)
    assert [one.path.name for one in again.differing] == ["inner", "a.mrc"]


def test_a_damaged_archive_removes_nothing_of_it(small: tuple[Path, Path]) -> None:
    source, target = small
    flip_last_byte(target / "notes.txt")
    damaged = target / "Movies" / "a.mrc.tif"
    data = bytearray(damaged.read_bytes())
    data[2000] ^= 1
    damaged.write_bytes(data)
    done, _ = compared(source, target, remove_source=True)
    assert (len(done.differing), len(done.failed), done.removed) == (1, 1, 5)
    assert names(source) == ["Movies/a.mrc", "notes.txt"]


def test_a_missing_gain_reference_keeps_the_source(tmp_path: Path) -> None:
    movie = simulated(tmp_path / "session" / "m.mrc", frames=4)
    archive(tmp_path / "session", tmp_path / "archive")
    (tmp_path / "archive" / "gain-reference.mrc").unlink()
    done, _ = compared(tmp_path / "session", tmp_path / "archive", remove_source=True)
    assert (done.removed, len(done.failed)) == (0, 1)
    assert movie.exists()


def while_compared(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], object]) -> None:
    """Do something after the bytes of a file were compared, before it is removed."""
    right = remove_source.Remover.remove_file

    def changed(self: remove_source.Remover, guard: remove_source.Guard) -> None:
        if guard.pair.source.name == name:
            action()
        right(self, guard)

    monkeypatch.setattr(remove_source.Remover, "remove_file", changed)


@pytest.fixture(params=[True, False], ids=["with leases", "without leases"])
def leases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has leases."""
    if not request.param:
        right = fcntl.fcntl

        def fcntl_without(descriptor: int, command: int, argument: int = 0) -> int:
            if command == fcntl.F_SETLEASE:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return right(descriptor, command, argument)

        monkeypatch.setattr(fcntl, "fcntl", fcntl_without)
    return bool(request.param)


@pytest.mark.parametrize("change", ["touched", "made longer", "replaced", "archived file replaced", "removed"])
def test_a_file_that_changes_meanwhile_stays(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, leases: bool, change: str
) -> None:
    if leases and change == "made longer":
        change = "touched"  # the lease would have this wait; another test has a program of its own do it
    source, target = small
    path, stored = source / "notes.txt", target / "notes.txt"

    def act() -> None:
        if change == "touched":
            os.utime(path, ns=(1, path.stat().st_mtime_ns))
        elif change == "made longer":
            os.truncate(path, 100)
        elif change == "replaced":
            path.with_name("new").write_text("300 kV")
            path.with_name("new").rename(path)
        elif change == "archived file replaced":
            shutil.copy2(stored, stored.with_name("new"))
            stored.with_name("new").rename(stored)
        else:
            path.unlink()

    while_compared(monkeypatch, "notes.txt", act)
    done, _ = compared(source, target, remove_source=True)
    assert done.removed == 6
    assert len(done.not_removed) + len(done.failed) == 1
    assert path.exists() is (change != "removed")


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_a_program_has_open_stays(small: tuple[Path, Path], mode: str) -> None:
    source, target = small
    script = "import sys; f = open(sys.argv[1], sys.argv[2]); print(flush=True); sys.stdin.read()"
    command = ["python3", "-c", script, str(source / "notes.txt"), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        done, _ = compared(source, target, remove_source=True)
        program.communicate()
    assert [one.path.name for one in done.not_removed] == ["notes.txt"]
    assert "in use" in done.not_removed[0].reason
    assert names(source) == ["notes.txt"]
    assert compared(source, target, remove_source=True)[0].all_equal


def test_a_file_that_a_program_opens_meanwhile_stays(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = small
    programs = []

    def act() -> None:
        script = "import sys; open(sys.argv[1], 'r+').write('mine')"
        programs.append(subprocess.Popen(["python3", "-c", script, source / "notes.txt"]))
        # the open waits for the lease
        wait_for(lambda: not is_leased())

    def is_leased() -> bool:
        return any("LEASE  ACTIVE" in line for line in Path("/proc/locks").read_text().splitlines() if inode in line)

    inode = f":{(source / 'notes.txt').stat().st_ino} "
    while_compared(monkeypatch, "notes.txt", act)
    done, _ = compared(source, target, remove_source=True)
    assert programs[0].wait(30) == 0
    assert [one.path.name for one in done.not_removed] == ["notes.txt"]
    assert (source / "notes.txt").read_text() == "minekV"


@pytest.mark.usefixtures("leases")
def test_names_of_one_inode_are_all_removed(small: tuple[Path, Path]) -> None:
    source, target = small
    for number in range(5):
        os.link(source / "notes.txt", source / f"{number}.txt")
        shutil.copy2(target / "notes.txt", target / f"{number}.txt")
    done, _ = compared(source, target, remove_source=True)
    assert (done.all_equal, done.removed) == (True, 12)


def test_the_archived_file_itself_is_never_removed(small: tuple[Path, Path]) -> None:
    source, target = small
    (target / "notes.txt").unlink()
    os.link(source / "notes.txt", target / "notes.txt")
    done, _ = compared(source, target, remove_source=True)
    assert done.removed == 6
    assert "same inode as" in done.not_removed[0].reason
    assert names(source) == ["notes.txt"]


@pytest.mark.parametrize("call", ["unlink", "rmdir"])
def test_what_cannot_be_removed_is_named_by_its_path(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    source, target = small

    def denied(name: str, *, dir_fd: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    with monkeypatch.context() as patch:
        patch.setattr(f"cryofs.archive.remove_source.os.{call}", denied)
        done, watcher = compared(source, target, remove_source=True)
    left = source / ("notes.txt" if call == "unlink" else "empty/inner")
    assert left.exists()
    assert [error for error in watcher.errors if error.startswith(f"{left}: Permission denied")], watcher.errors
    assert len(done.failed) == len(watcher.errors)
