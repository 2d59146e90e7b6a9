"""Modification times of folders, which change only when a program changes the folder.

While cryofs archives a movie, or makes it plain again, it creates, renames and removes files of its own. Afterwards the
time of the last change by a program is restored. If both happen at the same moment, the later time stays.

Threads: safe to call from any thread; the lock guards the table.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryofs.storage import changes as storage
from cryofs.vfs.archive_root import Root


@dataclass
class _Work:
    """Work of cryofs in a folder.

    Attributes
    ----------
    count, ending : int
        Numbers of pieces of work in progress, and of those that restore the time of the folder.
    changes : int
        Number of begun and ended changes of the folder by programs since then.
    inode : int
        The folder, because another may get its name.
    mtime_ns : int or None
        Time that the folder has for programs; None if it is not known.
    """

    count: int = 0
    ending: int = 0
    changes: int = 0
    inode: int = 0
    mtime_ns: int | None = None


class FolderTimes:
    """The folders of an archive in which cryofs is at work, and the changes by programs."""

    def __init__(self, root: Root):
        self._root = root
        self._lock = threading.Lock()
        self._at_work: dict[Path, _Work] = {}
        # how many programs change a folder at this moment
        self._changing: Counter[Path] = Counter()

    @contextlib.contextmanager
    def kept(self, folder: Path) -> Iterator[None]:
        """Do some work of cryofs in a folder in the context, after which the folder has its time again."""
        with self._lock:
            work = self._at_work.setdefault(folder, _Work())
            work.count += 1
            is_first = work.count == 1
        try:
            if is_first:
                self._begin(folder, work)
            yield
        finally:
            self._end(folder, work)

    @contextlib.contextmanager
    def changing(self, *places: Path) -> Iterator[None]:
        """Change names for a program in the context, which gives their folders a new time."""
        folders = {place.parent for place in places}
        with self._lock:
            self._changing.update(folders)
            self._note(folders)
        try:
            yield
        finally:
            with self._lock:
                self._changing -= Counter(folders)
                self._note(folders)

    def was_set(self, folder: Path, mtime_ns: int) -> None:
        """Note that a program has set the time of a folder."""
        with self._lock:
            self._note({folder}, mtime_ns)

    def _note(self, folders: set[Path], mtime_ns: int | None = None) -> None:
        """Note a change by a program; called with the lock."""
        for folder in folders & self._at_work.keys():
            work = self._at_work[folder]
            work.changes += 1
            work.mtime_ns = time.time_ns() if mtime_ns is None else mtime_ns

    def _begin(self, folder: Path, work: _Work) -> None:
        try:
            found = self._root.lstat(folder)
        except OSError:
            return  # the work reports the error
        with self._lock:
            work.inode = found.st_ino
            if work.mtime_ns is None and not self._changing[folder]:
                work.mtime_ns = found.st_mtime_ns

    def _end(self, folder: Path, work: _Work) -> None:
        with self._lock:
            work.count -= 1
            if work.count:
                return
            changes, mtime_ns = work.changes, work.mtime_ns
            if mtime_ns is None or self._changing[folder]:
                self._forget(folder, work)
                return
            work.ending += 1
        try:
            self._restore(folder, work, mtime_ns, changes)
        finally:
            with self._lock:
                work.ending -= 1
                self._forget(folder, work)

    def _restore(self, folder: Path, work: _Work, mtime_ns: int, changes: int) -> None:
        # the folder may be gone, or belong to another user
        with contextlib.suppress(OSError), self._root.entry(folder) as (above, name):
            found = self._root.lstat(folder)
            if found.st_ino == work.inode and found.st_mtime_ns != mtime_ns:
                storage.disk.set_times_in(above, name, None, mtime_ns)
                if work.changes != changes:
                    # a program may have changed the folder just before that
                    storage.disk.set_times_in(above, name, None, time.time_ns())

    def _forget(self, folder: Path, work: _Work) -> None:
        """Forget a folder unless other work goes on, which may have begun meanwhile; called with the lock."""
        if not (work.count or work.ending):
            del self._at_work[folder]
