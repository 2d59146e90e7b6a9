"""Cache of the metadata of files, valid until a file changes.

Threads: thread-safe; the lock guards the table and is not held during reads.
"""

import logging
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
from cryofs.vfs.damage import Damage, is_settled
from cryofs.vfs.io_executor import IoExecutor

log = logging.getLogger("cryofs")
T = TypeVar("T")

# Number of damaged files that are remembered as logged.
_MOST_DAMAGED = 1 << 16


class Known(Generic[T]):
    """Cache of the results of `read` for the `limit` most recently requested files.

    Damage is cached once a file no longer changes, and logged once for each state of the file.

    Parameters
    ----------
    root : Root
        The archive.
    read : callable
        Function that returns the metadata of an open file.
    """

    def __init__(self, root: Root, io: IoExecutor, read: Callable[[LocalFile], T], limit: int):
        self._root = root
        self._io = io
        self._read = read
        self._limit = limit
        self._lock = threading.Lock()
        self._table: OrderedDict[FileState, T] = OrderedDict()
        # by name: the state of a damaged file (None while it may still change) and the error
        self._damaged: dict[str, tuple[FileState | None, str]] = {}

    def get(self, path: Path, found: os.stat_result) -> T:
        """Return the metadata of the file at `path` with the attributes `found`. Errors are not cached."""
        try:
            value = self._recall(state_of(found))
        except KeyError:
            source = self._root.open(path)
            with source:
                return self.get_open(source)
        if self._damaged or isinstance(value, Damage):
            self.note(value, found, self._root.name_of(path))
        return value

    def get_open(self, source: LocalFile) -> T:
        """Return the metadata of an open file, even if its name has been reused."""
        try:
            return self._recall(source.identity)
        except KeyError:
            value = self._io.run(source.name, partial(self._read, source))
        return self._keep(source, value)

    def read_at_once(self, path: Path) -> None:
        """Read the metadata of the file at `path` in the calling thread, without a time limit."""
        with self._root.open(path) as source:
            self._keep(source, self._read(source))

    def knows(self, state: FileState) -> bool:
        """Return True if the metadata of a file state are cached."""
        # a single operation on a dictionary needs no lock
        return state in self._table

    def note(self, value: T | Damage, found: os.stat_result, name: str) -> None:
        """Cache the metadata of a file; log damage once for each state of the file."""
        with self._lock:
            before = self._damaged.pop(name, None)
            if not isinstance(value, Damage):
                return
            noted = state_of(found) if is_settled(found) else None, value.reason
            self._damaged[name] = noted
            if len(self._damaged) > _MOST_DAMAGED:
                del self._damaged[next(iter(self._damaged))]
        if before is None or before[0] != noted[0]:
            log.warning("%s: %s", name, value.reason, extra={"facts": {"file": name}})

    def damaged(self) -> list[str]:
        """Return a line with name, problem and remedy for each damaged file."""
        with self._lock:
            return [f"{name}: {reason}" for name, (_, reason) in self._damaged.items()]

    def remember(self, state: FileState, value: T) -> None:
        """Add metadata from another source, for example the index."""
        with self._lock:
            self._table[state] = value
            if len(self._table) > self._limit:
                self._table.popitem(last=False)

    def _keep(self, source: LocalFile, value: T) -> T:
        self.note(value, source.stat, source.name)
        if is_settled(source.stat) or not isinstance(value, Damage):
            self.remember(source.identity, value)
        return value

    def _recall(self, state: FileState) -> T:
        with self._lock:
            self._table.move_to_end(state)
            return self._table[state]
