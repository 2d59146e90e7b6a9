"""Locks of the names of an archive that a mount changes.

Whoever opens a file, changes its name, or replaces it by its other form locks its name. Whoever renames a folder locks
all names, because the names below it change too.

Threads: safe to call from any thread. A thread must not lock names while it has locked others.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path


class NameLocks:
    """Locks of names, each by its place in the archive."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._locked: set[Path] = set()
        self._waiting_for_all = 0
        self._all_locked = False

    @contextlib.contextmanager
    def locked(self, *places: Path) -> Iterator[None]:
        """Lock some names in the context, all at once, so that no two threads wait for each other."""
        names = set(places)
        with self._changed:
            self._changed.wait_for(lambda: not (self._all_locked or self._waiting_for_all or names & self._locked))
            self._locked |= names
        try:
            yield
        finally:
            with self._changed:
                self._locked -= names
                self._changed.notify_all()

    @contextlib.contextmanager
    def all_locked(self) -> Iterator[None]:
        """Lock all names in the context; waits until no other thread has locked one."""
        with self._changed:
            self._waiting_for_all += 1
            try:
                self._changed.wait_for(lambda: not (self._all_locked or self._locked))
            finally:
                self._waiting_for_all -= 1
                self._changed.notify_all()
            self._all_locked = True
        try:
            yield
        finally:
            with self._changed:
                self._all_locked = False
                self._changed.notify_all()
