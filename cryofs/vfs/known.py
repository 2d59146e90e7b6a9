"""What was read from files of the archive, kept until they change.

Threads: any thread may call anything; the lock guards the table, never a read.
"""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from cryofs.file_state import FileState, state_of
from cryofs.vfs.damage import Damage, is_settled
from cryofs.vfs.patience import Patience
from cryofs.vfs.root import Root

log = logging.getLogger("cryofs")
T = TypeVar("T")


class Known(Generic[T]):
    """What `read` returns for files, remembered for the `limit` files that were asked for last.

    Damage is remembered once a file has settled, and logged once for each state of the file.

    Parameters
    ----------
    root : Root
        Where files are.
    read : callable
        Called with an open file, its size, and its name for messages.
    """

    def __init__(self, root: Root, patience: Patience, read: Callable[[int, int, str], T], limit: int):
        self._root = root
        self._patience = patience
        self._read = read
        self._limit = limit
        self._lock = threading.Lock()
        self._table: OrderedDict[FileState, T] = OrderedDict()
        # states of damaged files, and names of those that are still changing
        self._logged: OrderedDict[FileState | str, None] = OrderedDict()

    def get(self, path: Path, found: os.stat_result) -> T:
        """What the file at `path`, in the state `found`, holds. Errors of reading are not remembered."""
        try:
            value = self._recall(state_of(found))
        except KeyError:
            descriptor = self._root.open(path)
            try:
                return self.get_open(descriptor, self._root.name_of(path))
            finally:
                os.close(descriptor)
        if isinstance(value, Damage):
            self.log_once(value, found, self._root.name_of(path))
        return value

    def get_open(self, descriptor: int, name: str) -> T:
        """What an open file holds, whichever file has its name by now."""
        found = os.fstat(descriptor)
        state = state_of(found)
        try:
            return self._recall(state)
        except KeyError:
            value = self._patience.run(name, partial(self._read, descriptor, found.st_size, name))
        if isinstance(value, Damage):
            self.log_once(value, found, name)
            if not is_settled(found):
                return value
        self.remember(state, value)
        return value

    def knows(self, state: FileState) -> bool:
        """Return True if what a file in this state holds is remembered."""
        with self._lock:
            return state in self._table

    def remember(self, state: FileState, value: T) -> None:
        """Take over what is known of a file from elsewhere."""
        with self._lock:
            self._table[state] = value
            if len(self._table) > self._limit:
                self._table.popitem(last=False)

    def log_once(self, damage: Damage, found: os.stat_result, name: str) -> None:
        """Log the damage of a file, unless that is done for this state of it."""
        key = state_of(found) if is_settled(found) else name
        with self._lock:
            logged = key in self._logged
            self._logged[key] = None
            if len(self._logged) > self._limit:
                self._logged.popitem(last=False)
        if not logged:
            log.warning("%s: %s", name, damage.reason, extra={"facts": {"file": name}})

    def _recall(self, state: FileState) -> T:
        with self._lock:
            self._table.move_to_end(state)
            return self._table[state]
