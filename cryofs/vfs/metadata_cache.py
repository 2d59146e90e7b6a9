"""Metadata of the files of the archive, cached until the files change.

Threads: any thread may call anything; the lock guards the table, never a read.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from cryofs.storage.byte_source import LocalFile
from cryofs.storage.file_state import FileState, state_of
from cryofs.vfs.archive_root import Root
from cryofs.vfs.io_executor import IoExecutor

T = TypeVar("T")


class Known(Generic[T]):
    """The results of `read` for the `limit` files that were requested last.

    Parameters
    ----------
    root : Root
        The archive.
    read : callable
        Called with an open file.
    """

    def __init__(self, root: Root, io: IoExecutor, read: Callable[[LocalFile], T], limit: int):
        self._root = root
        self._io = io
        self._read = read
        self._limit = limit
        self._lock = threading.Lock()
        self._table: OrderedDict[FileState, T] = OrderedDict()

    def get(self, path: Path, found: os.stat_result) -> T:
        """Return the metadata of the file at `path`, in the state `found`. Errors are not cached."""
        try:
            return self._recall(state_of(found))
        except KeyError:
            source = self._root.open(path)
        with source:
            return self.get_open(source)

    def get_open(self, source: LocalFile) -> T:
        """Return the metadata of an open file, whichever file has its name by now."""
        state = source.identity
        try:
            return self._recall(state)
        except KeyError:
            value = self._io.run(source.name, partial(self._read, source))
        self.remember(state, value)
        return value

    def remember(self, state: FileState, value: T) -> None:
        """Add the metadata of a file that was read elsewhere."""
        with self._lock:
            self._table[state] = value
            if len(self._table) > self._limit:
                self._table.popitem(last=False)

    def _recall(self, state: FileState) -> T:
        with self._lock:
            self._table.move_to_end(state)
            return self._table[state]
