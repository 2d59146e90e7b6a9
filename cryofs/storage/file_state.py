"""The state of a file: what is known of one state counts for no other."""

import os
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Tells a state of a file from all others.

    The change time tells of a file that was restored in place, with its old time and size put back. It moves with names
    and permissions too, which costs no more than reading again.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def state_of(found: os.stat_result) -> FileState:
    """The state that a file was found in."""
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_open_still(descriptor: int, found: os.stat_result) -> bool:
    """Whether an open file has the content that it was found with.

    A file that is replaced by a rename keeps its content and loses its name, which moves its change time as well; so
    that counts only where nothing else explains it. A file that is merely renamed cannot be told from one that was
    overwritten and had its time put back.
    """
    now = os.fstat(descriptor)
    if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
        return False
    return now.st_ctime_ns == found.st_ctime_ns or _besides_content(now) != _besides_content(found)


def _besides_content(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_nlink, found.st_mode, found.st_uid, found.st_gid


def is_still(path: Path, state: FileState) -> bool:
    """Whether a path leads to a file in this state; not where that cannot be looked at."""
    try:
        return state_of(path.stat()) == state
    except OSError:
        return False
