"""Locks of the names of an archive that a mount changes.

A thread that opens a file, changes its name, or replaces it by its other form locks its name. A thread that renames a
folder locks all names, because the names below it change too.

Threads: safe to call from any thread. A thread must not lock names while it has locked others.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import StuckError
from cryofs.system import deadlines


class NameLocks:
    """Locks of names, each by its place in the archive.

    Attributes
    ----------
    settle : callable
        Called with each locked name that is about to change; ends a step that an error has left unfinished.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._locked: set[Path] = set()
        self._waiting_for_all = 0
        self._all_locked = False
        self.settle: Callable[[Path], object] = lambda _: None

    @contextlib.contextmanager
    def locked(self, *places: Path) -> Iterator[None]:
        """Lock some names in the context, all at once, so that no two threads wait for each other.

        Raises
        ------
        StuckError
            Another thread did not release them before the deadline of this request.
        """
        names = set(places)
        with self._changed:
            self._wait(
                lambda: not (self._all_locked or self._waiting_for_all or names & self._locked),
                ", ".join(sorted(name.name for name in names)),
            )
            self._locked |= names
        try:
            yield
        finally:
            with self._changed:
                self._locked -= names
                self._changed.notify_all()

    @contextlib.contextmanager
    def changing(self, *places: Path) -> Iterator[None]:
        """Lock some names in the context, whose files or names are about to change; raise the errors of `settle`."""
        with self.locked(*places):
            for place in places:
                self.settle(place)
            yield

    @contextlib.contextmanager
    def all_locked(self) -> Iterator[None]:
        """Lock all names in the context; waits until no other thread has locked one."""
        with self._changed:
            self._waiting_for_all += 1
            try:
                self._wait(lambda: not (self._all_locked or self._locked), "a folder")
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

    def _wait(self, is_free: Callable[[], bool], what: str) -> None:
        """Wait for names until the deadline of the request; nothing has been begun by then."""
        if not self._changed.wait_for(is_free, deadlines.seconds_left()):
            raise StuckError(f"{what}: an earlier change takes too long; retry, and check that the storage responds")
