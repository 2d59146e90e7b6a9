"""Change a small file that several processes may change, by replacing it.

The file is never modified in place; a new file replaces it by a rename. A process locks the current file; if the file
was replaced while the process waited for the lock, the process starts again with the new one. A new file is locked
before the rename, so that the lock passes from each file to the next.
"""

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage import atomic_file, changes


@contextlib.contextmanager
def changed(path: Path, change: Callable[[bytes], bytes], *, create: bool, fix: str) -> Iterator[bytes | None]:
    """Replace a file durably after a change, and keep the new file locked until the end of the context.

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
    with _locked(path, create=create, fix=fix) as file:
        if file is None:
            yield None
            return
        old = file.read()
        with _no_empty_file(path, file, is_new=not old):
            new = change(old)
            with _replaced(path, file, new) if new != old else contextlib.nullcontext():
                yield new


def rewrite(path: Path, change: Callable[[bytes], bytes], *, create: bool, fix: str) -> None:
    """Replace a file durably after a change, as `changed` does, and remove it if no bytes are left."""
    with _locked(path, create=create, fix=fix) as file:
        if file is None:
            return
        old = file.read()
        with _no_empty_file(path, file, is_new=not old):
            new = change(old)
            if not new:
                changes.disk.remove(path, missing_ok=True)
                atomic_file.sync_folder(path.parent)
            elif new != old:
                with _replaced(path, file, new):
                    pass


def checked(path: Path, fix: str) -> Path:
    """Return the path; raise ArchiveError unless it is that of a regular file."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ArchiveError(f"{path}: not a regular file; {fix}")
    return path


@contextlib.contextmanager
def _replaced(path: Path, file: io.BufferedIOBase, new: bytes) -> Iterator[None]:
    """Replace a file durably; the new file stays locked until the end of the context."""
    with atomic_file.naming(path), atomic_file.draft(path) as made:
        made.write(new)
        changes.disk.set_mode(made.file.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        made.sync()
        made.publish()
        yield


@contextlib.contextmanager
def _no_empty_file(path: Path, file: io.BufferedIOBase, *, is_new: bool) -> Iterator[None]:
    """After an error, remove a file that was made only for its lock."""
    try:
        yield
    except BaseException:
        if is_new and _has_name(path, file):
            changes.disk.remove(path, missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(path: Path, *, create: bool, fix: str) -> Iterator[io.BufferedIOBase | None]:
    """Lock the file with this name and yield it, or yield None if there is no file and `create` is False."""
    while True:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(_opened_for_lock(path, create=create, fix=fix))
            except FileNotFoundError:
                if create and path.parent.is_dir():
                    continue
                if create:
                    raise
                yield None
                return
            except FileExistsError:
                continue
            with atomic_file.naming(path):
                atomic_file.lock(file)
            if _has_name(path, file):
                yield file
                return


def _opened_for_lock(path: Path, *, create: bool, fix: str) -> io.BufferedIOBase:
    """Open a file for locking: for writing, which NFS requires, or for reading if only that is permitted."""
    try:
        return changes.disk.open_locked(checked(path, fix))
    except PermissionError:
        return checked(path, fix).open("rb")
    except FileNotFoundError:
        if not create:
            raise
    return changes.disk.create(path)


def _has_name(path: Path, file: io.BufferedIOBase) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
