"""Change a small file that several processes may change, on any host, by replacing it.

The file is never modified in place; a new file replaces it by a rename, while a lock keeps other processes waiting
(`cryofs.storage.file_lock`).
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage import atomic_file, changes
from cryofs.storage.file_lock import locked

Check = Callable[[], None]


@contextlib.contextmanager
def changed(path: Path, change: Callable[[bytes], bytes], *, create: bool, fix: str) -> Iterator[bytes | None]:
    """Replace a file durably after a change, and keep it locked until the end of the context.

    Parameters
    ----------
    change : callable
        Returns the new bytes for the old ones, which are empty if there is no file.
    create : bool
        Whether to create a missing file.
    fix : str
        What the user must do if the path is not that of a regular file.

    Yields
    ------
    bytes or None
        The new bytes, or None if there is no file and `create` is False.

    Raises
    ------
    ArchiveError
        The path is not that of a regular file, because a link could lead anywhere.
    """
    with _locked(path, create=create, fix=fix) as (old, mode, check_lock):
        if old is None:
            yield None
            return
        new = change(old)
        if new != old:
            _replace(path, new, mode, check_lock)
        yield new


def rewrite(path: Path, change: Callable[[bytes], bytes], *, create: bool, fix: str) -> None:
    """Replace a file durably after a change, as `changed` does, and remove it if no bytes are left."""
    with _locked(path, create=create, fix=fix) as (old, mode, check_lock):
        if old is None:
            return
        new = change(old)
        if not new:
            check_lock()
            changes.disk.remove(path, missing_ok=True)
            atomic_file.sync_folder(path.parent)
        elif new != old:
            _replace(path, new, mode, check_lock)


def checked(path: Path, fix: str) -> Path:
    """Return the path; raise ArchiveError unless it is that of a regular file."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ArchiveError(f"{path}: not a regular file; {fix}")
    return path


def _replace(path: Path, new: bytes, mode: int | None, check_lock: Check) -> None:
    """Replace a file durably; the new file has the mode of the old one, if there was one."""
    with atomic_file.naming(path), atomic_file.draft(path) as made:
        made.write(new)
        if mode is not None:
            changes.disk.set_mode(made.file.fileno(), mode)
        made.sync()
        check_lock()
        made.publish()


@contextlib.contextmanager
def _locked(path: Path, *, create: bool, fix: str) -> Iterator[tuple[bytes | None, int | None, Check]]:
    """Lock a file, and yield its bytes and mode, and the check of the lock; None for the bytes if nothing is to do."""
    if not create and not os.path.lexists(path):
        yield None, None, lambda: None
        return
    with contextlib.ExitStack() as stack:
        with atomic_file.naming(path):
            check_lock = stack.enter_context(locked(path))
        try:
            with checked(path, fix).open("rb") as file:
                old, mode = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        except FileNotFoundError:
            yield (b"" if create else None), None, check_lock
            return
        yield old, mode, check_lock
