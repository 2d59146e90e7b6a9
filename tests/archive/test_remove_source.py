"""Sources are removed only when the archive holds them: what stays, what is refused, what is on the disk before."""

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.archive import refusals, remove_source, same_bytes
from cryofs.archive.extract import extract
from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import ArchiveError
from cryofs.fuse.control import FILE_SYSTEM_TYPE
from cryofs.system.mount_table import Mount, mount_table
from tests.archive.test_compare import compared, entries, flip_last_byte
from tests.small_session import write_integers
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
    extract([target], tmp_path / "back", 2, lambda *_: None, lambda *_: None, lambda _: None)
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
    assert "same file (inode)" in done.not_removed[0].reason
    assert names(source) == ["notes.txt"]


def test_a_link_of_the_archive_into_the_source_is_refused(small: tuple[Path, Path]) -> None:
    source, target = small
    (target / "kept.mrc").symlink_to(source / "Movies" / "a.mrc")
    before = entries(source)
    with pytest.raises(ArchiveError, match=r"kept\.mrc: this link in the archive leads into SOURCE"):
        compared(source, target, remove_source=True)
    assert entries(source) == before


def test_a_link_to_a_file_of_the_source_goes_before_that_file(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    for name in ("a.mrc", "z.mrc"):
        os.utime(write_integers(source / name), ns=(2, 2))
    archive(source, target, CompressOptions(gain="none", jobs=1))
    (source / "z.mrc").unlink()
    (source / "z.mrc").symlink_to("a.mrc")
    done, _ = compared(source, target, remove_source=True)
    assert (done.all_equal, done.removed) == (True, 2)


def test_a_link_that_stays_keeps_the_file_that_it_leads_to(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "link").unlink()
    (source / "link").symlink_to("notes.txt")
    done, _ = compared(source, target, remove_source=True)
    assert names(source) == ["link", "notes.txt"]
    assert "the link" in done.not_removed[0].reason


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


def test_links_that_the_archive_lacks_keep_what_they_lead_to(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "new").symlink_to("notes.txt")
    # by way of a link that the archive has
    (source / "Movies" / "further").symlink_to(source / "link")
    (source / ".cryofs-mine").symlink_to("Movies/b.mrc")
    done, _ = compared(source, target, remove_source=True)
    stay = [".cryofs-mine", "Movies/b.mrc", "Movies/further", "link", "new", "notes.txt", "other.txt"]
    assert names(source) == stay
    assert [link.resolve().is_file() for link in source.rglob("*") if link.is_symlink()] == [True] * 4
    assert sorted(one.path.name for one in done.not_removed) == ["b.mrc", "link", "notes.txt", "other.txt"]


def test_a_new_link_to_a_folder_keeps_everything_in_it(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "new").symlink_to("Movies")
    (source / "another").symlink_to("empty/inner")
    # a link where the archive has a folder
    (source / "empty" / "inner").rename(source / "moved")
    (source / "empty" / "inner").symlink_to("../notes.txt")
    compared(source, target, remove_source=True)
    assert entries(source / "Movies") == ["a.mrc", "b.mrc"]
    assert names(source) == ["Movies/a.mrc", "Movies/b.mrc", "another", "empty/inner", "notes.txt"]
    assert (source / "new").is_symlink()


def test_files_behind_a_link_to_a_folder_stay(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    write_integers(source / "Movies" / "a.mrc")
    archive(source, target, CompressOptions(gain="none", jobs=1))
    (source / "Movies").rename(tmp_path / "raw")
    (source / "Movies").symlink_to(tmp_path / "raw")
    assert compared(source, target)[0].all_equal
    done, _ = compared(source, target, remove_source=True)
    assert (done.equal, done.removed, len(done.not_removed)) == (1, 0, 1)
    assert names(tmp_path / "raw") == ["a.mrc"]
    assert (source / "Movies").is_symlink()


def test_a_folder_by_two_names(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    for name in ("Movies", "twice"):
        for number in range(4):
            write_integers(source / name / f"{number}.mrc", seed=number)
    archive(source, target, CompressOptions(gain="none", jobs=1))
    shutil.rmtree(source / "twice")
    (source / "twice").symlink_to("Movies")
    for path in (target / "Movies").iterdir():
        shutil.copy2(path, target / "twice")
    done, _ = compared(source, target, remove_source=True)
    assert (done.equal, done.removed, [one.path.name for one in done.not_removed]) == (8, 4, ["twice"])


def test_everything_is_on_the_disk_before_it_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    simulated(source / "sub" / "m.mrc", frames=4)
    (source / "sub" / "notes.txt").write_text("300 kV")
    archive(source, target)
    (target / "sub" / ".cryofs-sha256").touch()
    events: list[tuple[str, str]] = []

    def noting(what: str, function: Callable[..., object], of: Callable[..., str]) -> Callable[..., object]:
        def noted(*arguments: object, **named: object) -> object:
            events.append((what, of(*arguments)))
            return function(*arguments, **named)

        return noted

    def opened(descriptor: object, *_: object) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return str(path.relative_to(tmp_path))

    monkeypatch.setattr(os, "fsync", noting("sync", os.fsync, opened))
    monkeypatch.setattr(os, "posix_fadvise", noting("drop", os.posix_fadvise, opened))
    monkeypatch.setattr(os, "unlink", noting("remove", os.unlink, lambda name, **_: str(name)))
    for name in ("file_difference", "movie_difference"):
        function = getattr(same_bytes, name)
        monkeypatch.setattr(
            f"cryofs.archive.compare_file.{name}",
            noting("read", function, lambda _, stored, *rest: opened(getattr(stored, "source", stored).descriptor)),
        )
    assert compared(source, target, remove_source=True)[0].removed == 2
    for name, stored, needs in (
        ("m.mrc", "archive/sub/m.mrc.tif", ["archive/gain-reference.mrc"]),
        ("notes.txt", "archive/sub/notes.txt", []),
    ):
        read = events.index(("read", stored))
        for each in (stored, "archive/sub/.cryofs-sha256", *needs):
            assert events.index(("sync", each)) < events.index(("drop", each)) < read
        for each in ("archive", "archive/sub"):
            assert events.index(("sync", each)) < read
        assert read < events.index(("remove", name))


def test_storage_that_cannot_sync(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = small
    before = entries(source)

    def fsync(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ArchiveError, match="--trust-storage"):
        compared(source, target, remove_source=True)
    assert entries(source) == before
    assert compared(source, target, remove_source=True, trust_storage=True)[0].removed == 7


def mounted_as(monkeypatch: pytest.MonkeyPatch, place: Path, kind: str) -> None:
    """Have the table of mounts say that a folder is a mount of some type."""
    table = [*mount_table(), Mount(place, "0:9999", kind)]
    monkeypatch.setattr("cryofs.archive.compare.mount_table", lambda: table)


@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuse.rclone", "fuse"])
def test_storage_whose_fsync_promises_nothing(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source, target = small
    mounted_as(monkeypatch, target / "Movies", kind)
    assert compared(source, target)[0].all_equal
    with pytest.raises(ArchiveError, match=f"fsync on {kind} .* --trust-storage"):
        compared(source, target, remove_source=True)
    assert compared(source, target, remove_source=True, trust_storage=True)[0].removed == 7


@pytest.mark.parametrize("kind", ["ext4", "fuseblk", "nfs4", "xfs"])
def test_storage_whose_fsync_counts(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounted_as(monkeypatch, small[1], kind)
    assert compared(*small, remove_source=True)[0].removed == 7


def test_sources_on_a_network_are_not_leased(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # NFS refuses a lease as if the file were in use
    mounted_as(monkeypatch, small[0], "nfs4")
    monkeypatch.setattr("cryofs.storage.leases.take_write_lease", lambda _: pytest.fail("asked for a lease"))
    assert compared(*small, remove_source=True)[0].removed == 7


@pytest.mark.parametrize("place", ["session", "session/Movies", "archive"])
@pytest.mark.parametrize("remove", [False, True])
def test_a_mount_of_cryofs_is_refused(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, place: str, remove: bool
) -> None:
    before = entries(small[0])
    mounted_as(monkeypatch, small[0].parent / place, refusals.MOUNT_TYPE)
    with pytest.raises(ArchiveError, match="a cryofs mount"):
        compared(*small, remove_source=remove)
    assert entries(small[0]) == before


def test_the_type_of_mounts_is_that_of_this_program() -> None:
    assert refusals.MOUNT_TYPE == FILE_SYSTEM_TYPE


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_folders_that_are_one_by_a_bind_mount_are_refused(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "bound").mkdir()
    before = names(source)
    subprocess.run(["mount", "--bind", target, source / "bound"], check=True)
    try:
        with pytest.raises(ArchiveError, match="overlap"):
            compared(source, target, remove_source=True)
        (target / "back").mkdir()
        subprocess.run(["mount", "--bind", source / "Movies", target / "back"], check=True)
        subprocess.run(["umount", source / "bound"], check=True)
        subprocess.run(["mount", "--bind", target / "back", source / "bound"], check=True)
        with pytest.raises(ArchiveError, match="overlap"):
            compared(source, target, remove_source=True)
    finally:
        for place in (source / "bound", target / "back"):
            subprocess.run(["umount", place], check=False, capture_output=True)
    assert names(source) == before


def test_files_that_an_overlay_shows_again_are_not_removed(tmp_path: Path) -> None:
    lower, overlay = tmp_path / "lower", tmp_path / "overlay"
    for name in ("lower/session/below", "upper", "work", "overlay"):
        (tmp_path / name).mkdir(parents=True)
    (lower / "session" / "below" / "notes.txt").write_text("300 kV")
    layers = f"lowerdir={lower},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    mounting = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, overlay], check=False)
    if mounting.returncode:
        pytest.skip("needs overlays")
    try:
        with pytest.raises(ArchiveError, match="overlap"):
            compared(lower / "session", overlay / "session", remove_source=True)
        # an overlay has its own change time for a folder that was written to
        (overlay / "session" / "new.txt").write_text("new")
        (overlay / "session" / "below" / "new.txt").write_text("new")
        done, _ = compared(lower / "session", overlay / "session", remove_source=True)
        assert "compared with itself" in done.not_removed[0].reason
        assert names(lower) == ["session/below/notes.txt"]
    finally:
        subprocess.run(["umount", overlay], check=True)
