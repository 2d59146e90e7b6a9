"""What a mount protects: the archive, and the machine."""

import errno
import mmap
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.fuse.control import is_mounted
from tests.mounted.support import NEEDS_MOUNTS, archive_copy
from tests.support import mounted, run_in_process, same_tree, wait_for

pytestmark = NEEDS_MOUNTS


def fingerprint(folder: Path) -> dict[Path, tuple[object, ...]]:
    """Return the content of every file and everything that stat reports except the access time."""

    def state(path: Path) -> tuple[object, ...]:
        found = path.lstat()
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
        return (*found[:7], found.st_mtime_ns, found.st_ctime_ns, found.st_blocks, attributes, content)

    return {path: state(path) for path in [folder, *folder.rglob("*")]}


WRITES: dict[str, Callable[[Path], object]] = {
    "open for writing": lambda mount: os.open(mount / "notes.txt", os.O_WRONLY),
    "open for both": lambda mount: os.open(mount / "Movies" / "a.mrc", os.O_RDWR),
    "open to append": lambda mount: os.open(mount / "notes.txt", os.O_WRONLY | os.O_APPEND),
    "open and cut": lambda mount: os.open(mount / "notes.txt", os.O_RDONLY | os.O_TRUNC),
    "create": lambda mount: os.open(mount / "new", os.O_CREAT | os.O_RDONLY),
    "truncate": lambda mount: os.truncate(mount / "Movies" / "a.mrc", 5),
    "unlink": lambda mount: (mount / "notes.txt").unlink(),
    "rename": lambda mount: (mount / "notes.txt").rename(mount / "other.txt"),
    "replace": lambda mount: (mount / "notes.txt").replace(mount / "private.txt"),
    "mkdir": lambda mount: (mount / "new").mkdir(),
    "rmdir": lambda mount: (mount / "Movies").rmdir(),
    "link": lambda mount: (mount / "new").hardlink_to(mount / "notes.txt"),
    "symlink": lambda mount: (mount / "new").symlink_to("notes.txt"),
    "mknod": lambda mount: os.mknod(mount / "new"),
    "mkfifo": lambda mount: os.mkfifo(mount / "new"),
    "chmod": lambda mount: (mount / "notes.txt").chmod(0o600),
    "chown": lambda mount: os.chown(mount / "notes.txt", 1, 1),
    "utime": lambda mount: os.utime(mount / "Movies" / "a.mrc", (1, 1)),
    "setxattr": lambda mount: os.setxattr(mount / "notes.txt", "user.x", b"1"),
    "removexattr": lambda mount: os.removexattr(mount, "user.cryofs.facts"),
    "counts": lambda mount: (mount / "@counts" / "Movies" / "a.mrc").unlink(),
    "archive": lambda mount: (mount / "@archive" / "Movies" / "a.mrc.tif").unlink(),
}


def test_the_archive_is_never_changed(readable_session: Path, place: Path) -> None:
    target = readable_session.with_name("archive")
    before = fingerprint(target)
    with mounted(target, place, "-o", "allow_other"):
        answers = {}
        for name, write in WRITES.items():
            try:
                write(place)
            except OSError as error:
                answers[name] = errno.errorcode[error.errno or 0]
        assert answers == dict.fromkeys(WRITES, "EROFS")
        with (place / "notes.txt").open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
            os.posix_fallocate(file.fileno(), 0, 10)
        same_tree(readable_session, place)
        for view in ("@counts", "@archive"):
            for path in (place / view).rglob("*"):
                if path.is_file():
                    path.read_bytes()
        run_in_process("stats", place)
        os.kill(int(os.getxattr(place, "user.cryofs.pid")), signal.SIGHUP)
    assert fingerprint(target) == before


def test_protective_mount_options_cannot_be_disabled(readable_session: Path, place: Path) -> None:
    with mounted(readable_session.with_name("archive"), place):
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place} " in line)
        own, superblock = line.split(" ")[5].split(","), line.rpartition(" ")[2].split(",")
        assert {"ro", "nosuid", "nodev"} <= set(own)
        assert {"ro", "default_permissions"} <= set(superblock)
    for option in ("suid", "dev"):
        done = run_in_process(
            "mount",
            readable_session.with_name("archive"),
            place,
            "-o",
            option,
            "--log-file",
            f"{place}.log",
            check=False,
        )
        assert done.returncode == 2
        assert "remove this option" in done.stderr
        assert not is_mounted(place)


def test_blocks_are_those_of_the_archive(readable_session: Path, place: Path) -> None:
    with mounted(readable_session.with_name("archive"), place):
        shown = (place / "Movies" / "a.mrc").stat()
        stored = (readable_session.with_name("archive") / "Movies" / "a.mrc.tif").stat()
        assert (shown.st_blocks, shown.st_blksize) == (stored.st_blocks, 1 << 20)
        assert shown.st_size > 512 * shown.st_blocks


def test_sizes_are_those_of_the_new_file(readable_session: Path, place: Path, tmp_path: Path) -> None:
    target = archive_copy(readable_session, tmp_path / "copy")
    (tmp_path / "new").write_text("300 k")
    with mounted(target, place), (place / "notes.txt").open("rb", buffering=0) as old:
        assert old.read(2) == b"30"
        (tmp_path / "new").replace(target / "notes.txt")
        wait_for(lambda: (place / "notes.txt").stat().st_size == 5)
        assert os.pread(old.fileno(), 10, 0) in (b"300 kV", b"300 k")
        with (place / "notes.txt").open("rb", buffering=0) as new:
            assert new.read() == b"300 k"
            with pytest.raises(OSError, match="No such device"):
                mmap.mmap(new.fileno(), 0, prot=mmap.PROT_READ)
