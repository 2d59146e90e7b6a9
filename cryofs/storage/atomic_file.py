"""Create files atomically: either a complete file appears, or none.

The caller writes a draft under a hidden name in the folder of the target, syncs and checks it, and renames it to the
target; then the folder is synced. A kill at any time leaves the old file or the new one, and possibly a draft, which
the next run removes. The process that writes a draft locks it, so that two runs into the same archive do not remove
each other's drafts. On a file system without locks, drafts of killed runs remain.
"""

import contextlib
import errno
import fcntl
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from cryofs.storage import changes

# Prefix of internal files: drafts, checksums, journals, locks, indexes. Mounts hide them.
OWN_PREFIX = ".cryofs-"
# Prefix of files that are being written; each gets its final name when it is complete.
DRAFT_PREFIX = OWN_PREFIX + "draft-"

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP)


class Draft:
    """An unfinished file, which gets its final name when it is published."""

    def __init__(self, target: Path):
        self.target = target
        with naming(target):
            self.path, self.file = _create(target.parent)

    def clear(self) -> None:
        """Remove all written bytes, to start again."""
        self.file.seek(0)
        self.file.truncate()

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes to the file; return their number."""
        with naming(self.target):
            return self.file.write(data)

    def sync(self) -> None:
        """Make all written bytes durable."""
        with naming(self.target):
            self.file.flush()
            changes.disk.sync(self.file.fileno())

    def publish(self) -> None:
        """Rename the file to its final name, replacing any existing file; the change is durable on return."""
        with naming(self.target):
            changes.disk.move(self.path, self.target)
            sync_folder(self.target.parent)

    def publish_new(self) -> None:
        """Rename the file to its final name; raise FileExistsError if the name already exists."""
        try:
            changes.disk.link(self.path, self.target)
        except OSError:
            # without hard links, two simultaneous runs are not detected
            if self.target.exists():
                raise FileExistsError(str(self.target)) from None
            changes.disk.move(self.path, self.target)
        sync_folder(self.target.parent)


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """Yield a new draft for a target; at the end of the context, remove the draft unless it was published."""
    made = Draft(target)
    try:
        with made.file:
            yield made
    finally:
        changes.disk.remove(made.path, missing_ok=True)


def write_file(target: Path, data: bytes, *, new: bool = False) -> None:
    """Write a whole file durably, replacing any existing file; with `new`, raise FileExistsError instead."""
    with naming(target), draft(target) as made:
        made.file.write(data)
        made.sync()
        if new:
            made.publish_new()
        else:
            made.publish()


def unnamed_file(folder: Path) -> io.BufferedRandom:
    """Create a file in a folder that has no name there, so that its bytes are freed when it is closed."""
    with naming(folder):
        path, file = _create(folder)
        changes.disk.remove(path)
    return file


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(folder):
            changes.disk.sync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(target: Path) -> Iterator[None]:
    """Add the name of the target to each OSError that names no file, or that names the draft."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and DRAFT_PREFIX not in str(error.filename)
        if not named and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
        raise


def regular_file(path: Path) -> os.stat_result | None:
    """Return the result of lstat for a regular file, or None if the path is missing, too long or of another type."""
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
    """Return True if the file system of a folder ignores the case of names."""
    # a folder without write permission is reported by the next write
    with contextlib.suppress(OSError), draft(folder / "probe") as made:
        return made.path.with_name(made.path.name.upper()).exists()
    return False


def remove_stale_drafts(folder: Path) -> None:
    """Remove the drafts that killed runs left in a folder."""
    for path in folder.glob(DRAFT_PREFIX + "*"):
        # links cannot be locked, but exist only for a moment; a run whose link is removed reports an error
        if path.is_symlink():
            changes.disk.remove(path, missing_ok=True)
            continue
        with contextlib.suppress(OSError), _opened(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            changes.disk.remove(path)


def _opened(path: Path) -> io.BufferedReader | io.BufferedRandom:
    """Open a draft of another run for locking; read-only if the draft is already read-only."""
    try:
        return changes.disk.open_locked(path)
    except PermissionError:
        return path.open("rb")


def _create(folder: Path) -> tuple[Path, io.BufferedRandom]:
    while True:
        path = folder / (DRAFT_PREFIX + secrets.token_hex(8))
        file = changes.disk.create(path)
        try:
            lock(file)
        except BaseException:
            file.close()
            changes.disk.remove(path, missing_ok=True)
            raise
        # another run may have removed the new file as a stale draft before it was locked
        if path.exists():
            return path, file
        file.close()


def lock(file: io.BufferedIOBase) -> None:
    """Wait for the lock of a file; return immediately on a file system without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if not no_locks(error):
            raise


def no_locks(error: OSError) -> bool:
    """Return True if an error means that the file system does not support locks."""
    return error.errno in _NO_LOCKS
