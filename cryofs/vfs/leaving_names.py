"""Names of open files that are removed or replaced, which libfuse announces by a rename to a hidden name.

libfuse renames an open file to `.fuse_hidden...` before it removes the name, and before another file gets the name. It
does not report which of the two it does. If it replaces the file, the rename of the other file follows at once, so the
old file need not lose its name first, and a kill between the two calls loses nothing. So the name is removed a moment
later unless such a rename came, or as soon as a request needs to know. The hidden names exist in memory only.

Threads: safe to call from any thread, without locks of names; one thread removes the names.
"""

import errno
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from cryofs.error_hints import explain
from cryofs.errors import CryofsError
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.live_files import LiveFile

_HIDDEN = re.compile(r"\.fuse_hidden[0-9a-f]{16,}")
# The second call of libfuse follows within microseconds, unless the machine is overloaded.
_SECONDS = 0.05
# How long the end of a mount waits for the removals.
_LAST_SECONDS = 10.0
_MOST_GONE = 1 << 12

log = logging.getLogger("cryofs")


def is_hidden_name(path: str, hidden: str) -> bool:
    """Return True if a rename gives a file a hidden name of libfuse's."""
    folder, _, name = hidden.rpartition("/")
    return path.rpartition("/")[0] == folder and _HIDDEN.fullmatch(name) is not None


class HiddenFiles:
    """Files under the hidden names of libfuse, by their path in the mount."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, tuple[LiveFile | None, Attributes]] = {}
        self._gone: dict[str, None] = {}

    def add(self, hidden: str, live: LiveFile | None, found: Attributes) -> None:
        """Add a file with its attributes; `live` is its open file, held until `remove`, None for a derived file."""
        if live is not None:
            live.acquire()
        with self._lock:
            self._files[hidden] = live, found

    def find(self, hidden: str) -> tuple[LiveFile | None, Attributes] | None:
        """Return a file and its attributes at its removal.

        Raises
        ------
        OSError
            ESTALE: a program still uses the old file of a name, although it is closed. The kernel looks the name up
            again.
        """
        if hidden in self._gone:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), hidden)
        return self._files.get(hidden)

    def acquire(self, hidden: str) -> tuple[LiveFile, Attributes] | None:
        """Return an open file with one handle more, or None if no file has this hidden name.

        Raises
        ------
        OSError
            ESTALE, as `find`; also for derived files.
        """
        with self._lock:
            found = self.find(hidden)
            if found is None:
                return None
            live, attributes = found
            if live is None:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), hidden)
            live.acquire()
            return live, attributes

    def remove(self, hidden: str) -> bool:
        """Forget a file, and return whether there was one."""
        with self._lock:
            found = self._files.pop(hidden, None)
            if found is not None:
                self._gone[hidden] = None
                if len(self._gone) > _MOST_GONE:
                    del self._gone[next(iter(self._gone))]
        if found is not None and found[0] is not None:
            found[0].close()
        return found is not None

    def moved(self, path: str, target: str) -> None:
        """Follow the rename of a folder."""
        with self._lock:
            for hidden in [one for one in self._files if PurePosixPath(one).is_relative_to(path)]:
                self._files[target + hidden[len(path) :]] = self._files.pop(hidden)


class LeavingNames:
    """Names that are about to be removed, by their place.

    Parameters
    ----------
    remove : callable
        Removes a name from the archive.
    """

    def __init__(self, remove: Callable[[Path], None]):
        self._remove = remove
        self._changed = threading.Condition()
        # when each name is removed at the latest; None while a thread removes it
        self._until: dict[Path, float | None] = {}
        self._is_ending = False
        self._thread = threading.Thread(target=self._work, name="removing", daemon=True)

    def start(self) -> None:
        """Start the thread that removes names."""
        self._thread.start()

    def add(self, place: Path) -> None:
        """Add a name."""
        with self._changed:
            self._until[place] = time.monotonic() + _SECONDS
            self._changed.notify_all()

    def take(self, place: Path) -> bool:
        """Return whether a name is about to be removed, and do not remove it, because another file replaces it now."""
        with self._changed:
            self._changed.wait_for(lambda: self._until.get(place, 0.0) is not None)
            found = self._until.pop(place, None) is not None
            self._changed.notify_all()
        return found

    def settle(self, place: Path) -> None:
        """Return when a name is no longer about to be removed: it was removed, or another file has replaced it."""
        if self._until:
            self._settle(lambda name: name == place)

    def settle_in(self, folder: Path) -> None:
        """Return when no name in a folder is about to be removed."""
        if self._until:
            self._settle(lambda name: name.parent == folder)

    def settle_below(self, folder: Path) -> None:
        """Return when no name in a folder or deeper is about to be removed."""
        if self._until:
            self._settle(lambda name: name.is_relative_to(folder))

    def stop(self) -> None:
        """Remove all names now; storage that hangs keeps the mount from ending for some seconds only."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_LAST_SECONDS)

    def _settle(self, matches: Callable[[Path], bool]) -> None:
        while True:
            with self._changed:
                found = [place for place in self._until if matches(place)]
                if not found:
                    return
                place = found[0]
                until = self._until[place]
                if until is None or until > time.monotonic():
                    self._changed.wait(None if until is None else until - time.monotonic())
                    continue
                self._until[place] = None
            self._remove_now(place)

    def _work(self) -> None:
        while (place := self._next()) is not None:
            self._remove_now(place)

    def _next(self) -> Path | None:
        """Wait for the next name that is to be removed; None at the end, once none is left."""
        with self._changed:
            while self._until or not self._is_ending:
                now = time.monotonic()
                due = {place: until for place, until in self._until.items() if until is not None}
                place = next((one for one, until in due.items() if until <= now or self._is_ending), None)
                if place is not None:
                    self._until[place] = None
                    return place
                self._changed.wait(min(due.values()) - now if due else None)
        return None

    def _remove_now(self, place: Path) -> None:
        try:
            self._remove(place)
        except (CryofsError, OSError) as error:
            reason = explain(error) if isinstance(error, OSError) else str(error)
            log.error("%s: removed by a program, but still there (%s)", place.name, reason)
        finally:
            with self._changed:
                del self._until[place]
                self._changed.notify_all()
