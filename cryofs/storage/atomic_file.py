"""Create files atomically: either a complete file appears, or none.

The caller writes a draft under a hidden name in the folder of the target, syncs and checks the draft, and renames it to
the target; then the folder is synced. A kill at any time leaves the old file or the new one, and possibly a draft that
a later run removes. The name of a draft contains the host and the process that writes it, so that runs into the same
archive do not remove each other's drafts, on whatever host they are (`cryofs.storage.ownership`).
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cryofs.storage import changes, ownership

# Prefix of internal files: drafts, checksums, journals, locks, indexes. Mounts hide them.
OWN_PREFIX = ".cryofs-"
# Prefix of files that are being written; each gets its final name when it is complete.
DRAFT_PREFIX = OWN_PREFIX + "draft-"

_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoHardLinksError(OSError):
    """The file system has no hard links, so a name cannot be given to one of several files only."""


class Draft:
    """An unfinished file, which gets its final name when it is published."""

    def __init__(self, target: Path):
        self.target = target
        with naming(target):
            self.path = draft_path(target)
            try:
                self.file = changes.disk.create(self.path)
            except BaseException:
                forget(self.path)
                raise

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
        """Give the file the final name, if no other process gives it to another file at the same time.

        Raises
        ------
        FileExistsError
            The name already exists.
        NoHardLinksError
            The file system has no hard links.
        """
        try:
            changes.disk.link(self.path, self.target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise
            # rclone returns EIO
            raise NoHardLinksError(str(self.target)) from error
        sync_folder(self.target.parent)


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """Yield a new draft for a target; at the end of the context, remove the draft unless it was published."""
    made = Draft(target)
    try:
        with made.file:
            yield made
    finally:
        try:
            changes.disk.remove(made.path, missing_ok=True)
        finally:
            forget(made.path)


def draft_path(target: Path) -> Path:
    """Return a new name for a draft of a target, which is in use until it is passed to `forget`."""
    return target.with_name(DRAFT_PREFIX + ownership.new_name())


def forget(draft: Path) -> None:
    """Record that a draft was renamed or removed."""
    ownership.release(draft.name.removeprefix(DRAFT_PREFIX))


def write_file(target: Path, data: bytes, *, new: bool = False) -> None:
    """Write a whole file durably, replacing any existing file; with `new`, raise the errors of `publish_new`."""
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
        path = draft_path(folder / "unnamed")
        try:
            file = changes.disk.create(path)
            changes.disk.remove(path)
        finally:
            forget(path)
    return file


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(folder):
            changes.disk.sync_names(descriptor, folder)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(target: Path) -> Iterator[None]:
    """Add the name of the target to each OSError that names no file, or that names the draft."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and not _is_internal(str(error.filename))
        if not named and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
        raise


def _is_internal(name: str) -> bool:
    """Return True for the name of a draft or of a lock."""
    return DRAFT_PREFIX in name or (OWN_PREFIX in name and name.endswith("-lock"))


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
    """Remove the drafts that ended runs left in a folder; drafts that may be in use are left for a day."""
    for path in folder.glob(DRAFT_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if is_stale(path):
                changes.disk.remove(path)


def is_stale(draft: Path) -> bool:
    """Return True if no run uses a draft any more; raise OSError if it is gone."""
    return ownership.is_stale(draft.name.removeprefix(DRAFT_PREFIX), draft.lstat().st_mtime)
