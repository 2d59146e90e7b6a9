"""Lock a file of an archive that several runs may replace, on any host.

The lock is a file that only one process can create. Locks of the kernel are not sufficient: BeeGFS and Lustre may keep
them for each host separately, and NFS and FUSE may not have any.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage import changes, ownership

LOCK_SUFFIX = "-lock"

# A lock that does not change for so long, in seconds, belongs to no running process; an empty one was being made.
_PATIENCE = 60.0
_PATIENCE_EMPTY = 5.0
# Pauses between two attempts, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1


@contextlib.contextmanager
def locked(target: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of a file of cryofs until the end of the context; the file need not exist.

    Yields
    ------
    callable
        Raises ArchiveError if another process took over the lock; call it before a change becomes visible.

    Raises
    ------
    OSError
        No file can be created in the folder of the file.
    """
    path, name = target.with_name(target.name + LOCK_SUFFIX), ownership.new_name()

    def check() -> None:
        if _owner(path) != name:
            text = f"{target}: the lock of this run was taken over after the run had stopped"
            raise ArchiveError(f"{text}; run the same command again with --only-do-unfinished")

    try:
        _create(path, name)
        try:
            yield check
        finally:
            if _owner(path) == name:
                changes.disk.remove(path, missing_ok=True)
    finally:
        ownership.release(name)


def is_lock_of(name: str, *targets: str) -> bool:
    """Return True if a name is that of a lock of one of some files, or of such a lock that was about to be removed."""
    return any(f"{name}-".startswith(f"{target}{LOCK_SUFFIX}-") for target in targets)


def is_left(lock: Path) -> bool:
    """Return True if a lock belongs to a process that has ended."""
    _, _, remover = lock.name.partition(f"{LOCK_SUFFIX}-")
    found = _state(lock)
    return found is not None and _is_left(remover or found[2], found)


def remove_left(lock: Path) -> None:
    """Remove a lock of a process that has ended, unless another process takes it meanwhile."""
    found = _state(lock)
    if found is not None and is_left(lock):
        _break(lock, found)


def _create(path: Path, name: str) -> None:
    """Create the lock, as soon as no other process has it."""
    pause, since, seen = _FIRST_PAUSE, time.monotonic(), None
    while True:
        try:
            file = changes.disk.create(path)
        except FileExistsError:
            found = _state(path)
            if found != seen:
                since, seen = time.monotonic(), found
            if found is not None:
                patience = _PATIENCE if found[2] else _PATIENCE_EMPTY
                if _has_left(path, found) or time.monotonic() - since >= patience:
                    _break(path, found)
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        try:
            with file:
                file.write(os.fsencode(name))
        except BaseException:
            changes.disk.remove(path, missing_ok=True)
            raise
        return


def _is_left(owner: str, found: tuple[int, int, str]) -> bool:
    """Return True if the owner has ended, or was killed before it wrote its name."""
    ended = ownership.has_ended(owner)
    return bool(ended) if owner else not 0 <= time.time() - found[1] / 1e9 < _PATIENCE_EMPTY


def _has_left(path: Path, found: tuple[int, int, str]) -> bool:
    """Return True if the owner of a lock has ended, and left it.

    A thread of this process that releases a lock removes the file first, and ends the use of the name then. Another
    thread may have the lock by now, so the file is read again.
    """
    return ownership.has_ended(found[2]) is True and _state(path) == found


def _state(path: Path) -> tuple[int, int, str] | None:
    """Return inode, modification time and owner of a lock, or None if there is none."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            return found.st_ino, found.st_mtime_ns, os.fsdecode(file.read())
    except FileNotFoundError:
        return None


def _owner(path: Path) -> str | None:
    found = _state(path)
    return None if found is None else found[2]


def _break(path: Path, found: tuple[int, int, str]) -> None:
    """Remove a lock that is left over, unless another process has the lock meanwhile."""
    aside = path.with_name(f"{path.name}-{ownership.new_name()}")
    with contextlib.suppress(FileNotFoundError):
        # of several processes that break it, one gets it
        changes.disk.move(path, aside)
        if _state(aside) != found:
            with contextlib.suppress(OSError):
                changes.disk.link(aside, path)
        changes.disk.remove(aside, missing_ok=True)
    ownership.release(aside.name.removeprefix(f"{path.name}-"))
