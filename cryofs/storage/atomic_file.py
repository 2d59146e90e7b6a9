"""Files that are there whole or not at all.

A draft is written under a hidden name in the folder of its target, fsynced, checked by its maker, renamed onto the
target, and the folder fsynced. A kill at any moment leaves the old state or the new one, and perhaps a draft that the
next run removes. A draft is locked while its maker lives, so that two runs into one archive leave each other's drafts
alone. Where a file system has no locks, drafts that are left behind stay.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage.file_state import is_still, state_of

# Files that cryofs keeps for itself: drafts, checksums, journals, locks, indexes. Mounts hide them.
OWN_PREFIX = ".cryofs-"
# Files that are being written; each gets its final name when it is complete.
DRAFT_PREFIX = OWN_PREFIX + "draft-"


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


def make_folders(root: Path, below: Path = Path(), on_made: Callable[[Path], object] = lambda _: None) -> Path:
    """Make a folder below a root, and the root, durably; a link may lead to the root, but none on from there.

    Parameters
    ----------
    on_made : callable
        Called with each folder that did not exist before.

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
            _make_folder(folder, on_made)
    for part in below.parts:
        root /= part
        if root.is_symlink() or not root.is_dir():
            _make_folder(root, on_made)
    return root


def _make_folder(folder: Path, on_made: Callable[[Path], object]) -> None:
    try:
        folder.mkdir()
    except FileExistsError as error:
        if folder.is_dir() and not folder.is_symlink():
            return  # another run made it just now
        what = "a symbolic link" if folder.is_symlink() else "a file"
        raise ArchiveError(f"{folder}: {what} is where a folder is needed; rename or remove it") from error
    on_made(folder)
    sync_folder(folder.parent)


def regular_file(path: Path) -> os.stat_result | None:
    """Return the inode of a file, None if there is none, if the name is too long for one, or if it is a link."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise
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


@dataclass(frozen=True)
class Copied:
    """A copy: SHA-256 of its bytes, and the file that has them."""

    sha256: str
    found: os.stat_result


# Given a target and the SHA-256 of its new bytes, surrounds the step that gives the target its new file.
Replacing = Callable[[Path, str], AbstractContextManager[None]]


def _as_it_is(_target: Path, _sha256: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def copy_file(source: Path, target: Path, replacing: Replacing = _as_it_is) -> Copied:
    """Copy a file with its times and mode, durably, and compare the copy with the source.

    Raises
    ------
    ArchiveError
        The copy is not the source; the source changed meanwhile, or the disk fails.
    """
    with draft(target) as made, source.open("rb") as original:
        before = os.fstat(original.fileno())
        sha256 = _copy_bytes(original, made)
        made.sync()
        if not _same_bytes(original, made.file) or not is_still(source, state_of(before)):
            raise ArchiveError(f"{source}: changed or replaced while it was copied; try again once it is written")
        os.fchmod(made.file.fileno(), before.st_mode & 0o7777)
        os.utime(made.file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        made.sync()
        with replacing(target, sha256):
            made.publish()
        return Copied(sha256, os.fstat(made.file.fileno()))


def compare_copy(source: Path, target: Path) -> Copied | None:
    """Compare an existing copy with its source and make it durable; None if they differ or the source changed."""
    with source.open("rb") as original, target.open("rb") as copy:
        before = os.fstat(original.fileno())
        digest = hashlib.sha256()
        if not _same_bytes(original, copy, digest.update) or not is_still(source, state_of(before)):
            return None
        with naming(target):
            os.fsync(copy.fileno())
        sync_folder(target.parent)
        return Copied(digest.hexdigest(), os.fstat(copy.fileno()))


def make_link(target: Path, text: Path, *, overwrite: bool = False) -> bool:
    """Make a symbolic link, in place of one that leads elsewhere or, with `overwrite`, of a file.

    Returns
    -------
    bool
        False if it exists already.
    """
    if target.is_symlink() and target.readlink() == text:
        return False
    if not overwrite and target.exists() and not target.is_symlink():
        raise FileExistsError(f"{target}: not a symbolic link, so it is not replaced by one; remove it")
    made = target.with_name(DRAFT_PREFIX + secrets.token_hex(8))
    with naming(target):
        made.symlink_to(text)
    _rename(made, target)
    return True


def link_file(first: Path, target: Path) -> None:
    """Give a file a second name, in place of what has that name.

    Raises
    ------
    OSError
        The file system has no hard links, or the file has as many as it may.
    """
    made = target.with_name(DRAFT_PREFIX + secrets.token_hex(8))
    made.hardlink_to(first)
    _rename(made, target)


def _rename(made: Path, target: Path) -> None:
    try:
        with naming(target):
            made.rename(target)
    finally:
        # renaming a file onto another of its names leaves both
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
            lock(file)
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        # another run may have taken the new file for a stale one before it was locked
        if path.exists():
            return path, file
        file.close()


def lock(file: io.BufferedIOBase) -> None:
    """Wait for the lock of a file; there is none where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _copy_bytes(source: io.BufferedReader, made: Draft) -> str:
    """Copy a file into a draft, and return the SHA-256 of what was read; large files are hashed beside the writing."""
    digest = hashlib.sha256()
    piece = source.read(_COPY_CHUNK)
    if len(piece) < _COPY_CHUNK:
        made.write(piece)
        digest.update(piece)
        return digest.hexdigest()
    with ThreadPoolExecutor(1, "sums") as beside:
        while piece:
            hashed = beside.submit(digest.update, piece)
            made.write(piece)
            hashed.result()
            piece = source.read(_COPY_CHUNK)
    return digest.hexdigest()


def _same_bytes(
    one: io.BufferedIOBase, other: io.BufferedIOBase, take: Callable[[bytes], object] = lambda _: None
) -> bool:
    """Return True if two files have the same bytes; `take` gets these, piece by piece."""
    one.seek(0)
    other.seek(0)
    while True:
        expected, found = one.read(_COPY_CHUNK), other.read(_COPY_CHUNK)
        if expected != found:
            return False
        if not expected:
            return True
        take(expected)
