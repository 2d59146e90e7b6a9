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


def is_still(path: Path, state: FileState) -> bool:
    """Whether a path leads to a file in this state; not where that cannot be looked at."""
    try:
        return state_of(path.stat()) == state
    except OSError:
        return False
