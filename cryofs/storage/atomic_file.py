"""Files that are there whole or not at all.

A draft is written under a hidden name in the folder of its target, fsynced, checked by its maker, renamed onto the
target, and the folder fsynced. A kill at any moment leaves the old state or the new one, and perhaps a draft that the
next run removes. A draft is locked while its maker lives, so that two runs into one archive leave each other's drafts
alone. Where a file system has no locks, drafts that are left behind stay.
"""

import contextlib
import errno
import fcntl
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage.file_state import is_still, state_of

# Files on their way into the archive; no original is ever called so.
DRAFT_PREFIX = ".cryofs-draft-"


_COPY_CHUNK = 8 << 20
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP)


class Draft:
    """A file on its way to its final name."""

    def __init__(self, target: Path):
        self.target = target
        with naming(target):
            self.path, self.file = _create(target.parent)

    def clear(self) -> None:
        """Start the file anew."""
        self.file.seek(0)
        self.file.truncate()

    def write(self, data: bytes | memoryview) -> int:
        """Append to the file."""
        with naming(self.target):
            return self.file.write(data)

    def sync(self) -> None:
        """Bring all that was written onto the disk."""
        with naming(self.target):
            self.file.flush()
            os.fsync(self.file.fileno())

    def publish(self) -> None:
        """Give the file its final name, replacing what is there; durable on return."""
        with naming(self.target):
            self.path.replace(self.target)
            sync_folder(self.target.parent)

    def publish_new(self) -> None:
        """Give the file its final name, but replace nothing; FileExistsError where the name is taken."""
        try:
            self.target.hardlink_to(self.path)
        except OSError:
            # a file system without hard links: all that can be done is to look first
            if self.target.exists():
                raise FileExistsError(str(self.target)) from None
            self.path.replace(self.target)
        sync_folder(self.target.parent)


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """Draft for a target; removed again unless it was published."""
    made = Draft(target)
    try:
        with made.file:
            yield made
    finally:
        made.path.unlink(missing_ok=True)


def make_folders(root: Path, below: Path = Path()) -> Path:
    """Make a folder below a root, and the root, durably; a link may lead to the root, but none on from there.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArchiveError
        A link or a file is in the way.
    """
    for folder in reversed((root, *root.parents)):
        if not folder.is_dir():
            _make_folder(folder)
    for part in below.parts:
        root /= part
        if root.is_symlink() or not root.is_dir():
            _make_folder(root)
    return root


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError as error:
        if folder.is_dir() and not folder.is_symlink():
            return  # another run made it just now
        what = "a symbolic link" if folder.is_symlink() else "a file"
        raise ArchiveError(f"{folder}: {what} is where a folder is needed; rename or remove it") from error
    sync_folder(folder.parent)


def regular_file(path: Path) -> os.stat_result | None:
    """The inode of a file; None where there is none, or a link."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def folds_case(folder: Path) -> bool:
    """Whether names in a folder that differ by case only are one name."""
    # where nothing can be written, whoever writes next will say so
    with contextlib.suppress(OSError), draft(folder / "probe") as made:
        return made.path.with_name(made.path.name.upper()).exists()
    return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(target: Path, data: bytes, *, new: bool = False) -> None:
    """Write a whole file, durably; with `new`, FileExistsError where the name is taken."""
    with naming(target), draft(target) as made:
        made.file.write(data)
        made.sync()
        if new:
            made.publish_new()
        else:
            made.publish()


@contextlib.contextmanager
def naming(target: Path) -> Iterator[None]:
    """Name the file in errors of the system that name none, as a full disk does, or name its draft."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and DRAFT_PREFIX not in str(error.filename)
        if not named and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
        raise


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times and mode, durably, and compare the copy with the source.

    Raises
    ------
    ArchiveError
        The copy is not the source; the source changed meanwhile, or the disk fails.
    """
    with draft(target) as made, source.open("rb") as original:
        before = os.fstat(original.fileno())
        shutil.copyfileobj(original, made, _COPY_CHUNK)
        made.sync()
        if not _same_bytes(original, made.file) or not is_still(source, state_of(before)):
            raise ArchiveError(f"{source}: changed or replaced while it was copied; try again once it is written")
        os.fchmod(made.file.fileno(), before.st_mode & 0o7777)
        os.utime(made.file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        made.sync()
        made.publish()


def copy_link(source: Path, target: Path) -> None:
    """Make a symbolic link like another, in place of one that points elsewhere."""
    if target.is_symlink() and target.readlink() == source.readlink():
        return
    if target.exists() and not target.is_symlink():
        raise FileExistsError(f"{target}: no symbolic link, so it is not replaced by one; remove it")
    made = target.with_name(DRAFT_PREFIX + secrets.token_hex(8))
    made.symlink_to(source.readlink())
    try:
        made.rename(target)
    finally:
        made.unlink(missing_ok=True)
    sync_folder(target.parent)


def copy_times(source: Path, target: Path) -> None:
    """Give a folder the mode and times of another."""
    shutil.copystat(source, target)
    sync_folder(target)


def remove_stale_drafts(folder: Path) -> None:
    """Remove the drafts that killed runs left in a folder."""
    for path in folder.glob(DRAFT_PREFIX + "*"):
        # links cannot be locked, but are there for a moment only; a run whose link is gone says so
        if path.is_symlink():
            path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(OSError), _opened(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _opened(path: Path) -> io.BufferedReader | io.BufferedRandom:
    """A draft of another run; NFS locks only what is open for writing, which one about to be published need not be."""
    try:
        return path.open("r+b")
    except PermissionError:
        return path.open("rb")


def _create(folder: Path) -> tuple[Path, io.BufferedRandom]:
    while True:
        path = folder / (DRAFT_PREFIX + secrets.token_hex(8))
        file = path.open("x+b")
        try:
            _lock(file)
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        # another run may have taken the new file for a stale one before it was locked
        if path.exists():
            return path, file
        file.close()


def _lock(file: io.BufferedRandom) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _same_bytes(one: io.BufferedReader, other: io.BufferedRandom) -> bool:
    one.seek(0)
    other.seek(0)
    while True:
        expected, found = one.read(_COPY_CHUNK), other.read(_COPY_CHUNK)
        if expected != found:
            return False
        if not expected:
            return True
