"""What was read from files of the archive, kept until they change.

Threads: any thread may call anything; the lock guards the table, never a read.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

Identity = tuple[int, int, int, int]


def identity_of(found: os.stat_result) -> Identity:
    """Tells this state of a file from all others."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Known(Generic[T]):
    """What `read` gives for files, remembered for the `limit` files that were asked for last."""

    def __init__(self, read: Callable[[Path], T], limit: int):
        self._read = read
        self._limit = limit
        self._lock = threading.Lock()
        self._table: OrderedDict[Identity, T] = OrderedDict()

    def get(self, path: Path, found: os.stat_result) -> T:
        """What the file at `path`, in the state `found`, holds. Errors of reading are not remembered."""
        identity = identity_of(found)
        with self._lock:
            if identity in self._table:
                self._table.move_to_end(identity)
                return self._table[identity]
        value = self._read(path)
        with self._lock:
            self._table[identity] = value
            if len(self._table) > self._limit:
                self._table.popitem(last=False)
        return value
