"""File identity for cache keys, and checks that files are unchanged."""

import os
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """File identity (device, inode, size, mtime, ctime), used as a cache key.

    ctime changes even if a program overwrites a file in place and restores mtime and size. Renames and changes of
    permissions update ctime too, which only causes the file to be read again.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def state_of(found: os.stat_result) -> FileState:
    """Return the file identity from a stat result."""
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_open_still(descriptor: int, found: os.stat_result) -> bool:
    """Return True if an open file still has the bytes from the time of the stat result `found`.

    If another file replaces the open file by a rename, the open file keeps its bytes but loses a link, which updates
    ctime. Therefore a new ctime counts as a change only if links, mode and owner are the same. A file that was only
    renamed cannot be distinguished from a file that was overwritten with mtime restored; both count as changed.
    """
    now = os.fstat(descriptor)
    if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
        return False
    return now.st_ctime_ns == found.st_ctime_ns or _besides_content(now) != _besides_content(found)


def _besides_content(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_nlink, found.st_mode, found.st_uid, found.st_gid


def is_still(path: Path, state: FileState, *, follow_links: bool = True) -> bool:
    """Return True if the file at `path` has this identity; return False if it differs or stat fails."""
    try:
        return state_of(path.stat(follow_symlinks=follow_links)) == state
    except OSError:
        return False
