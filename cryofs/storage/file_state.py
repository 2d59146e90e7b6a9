"""File identity (device, inode, size, mtime, ctime), used as a cache key."""

import os
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Identifies one state of a file.

    The change time reveals a file that was overwritten in place and had its old time and size restored. It also changes
    with names and permissions, which costs no more than reading again.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def state_of(found: os.stat_result) -> FileState:
    """Return the state of a file."""
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_open_still(descriptor: int, found: os.stat_result) -> bool:
    """Return True if an open file still has the content that it was found with.

    A file that is replaced by a rename keeps its content and loses its name, which changes its change time too; so the
    change time counts only if nothing else explains it. A file that is only renamed cannot be distinguished from a file
    that was overwritten and had its time restored.
    """
    now = os.fstat(descriptor)
    if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
        return False
    return now.st_ctime_ns == found.st_ctime_ns or _besides_content(now) != _besides_content(found)


def _besides_content(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_nlink, found.st_mode, found.st_uid, found.st_gid


def is_still(path: Path, state: FileState) -> bool:
    """Return True if a path leads to a file in this state; False if that cannot be determined."""
    try:
        return state_of(path.stat()) == state
    except OSError:
        return False
