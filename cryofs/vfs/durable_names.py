"""Make names of a writable mount durable, with the folders that are new.

A file is durable only once its name is, and the names of all new folders above it: not every file system keeps a folder
whose own name was not synced.

Threads: safe to call from any thread; no lock is held during a sync.
"""

import os
import threading
from pathlib import Path

from cryofs.storage import changes
from cryofs.vfs.archive_root import Root


class DurableNames:
    """The folders whose own names were made since they were last synced, by their place."""

    def __init__(self, root: Root):
        self._root = root
        self._lock = threading.Lock()
        self._new: set[Path] = set()

    def add(self, place: Path) -> None:
        """Note a new folder, or a new name of one."""
        with self._lock:
            self._new.add(place)

    def moved(self, place: Path, target: Path) -> None:
        """Follow the rename of a folder."""
        with self._lock:
            below = {old for old in self._new if old.is_relative_to(place)}
            self._new -= below
            self._new |= {target, *(target.joinpath(*old.parts[len(place.parts) :]) for old in below)}

    def removed(self, place: Path) -> None:
        """Forget a folder."""
        with self._lock:
            self._new.discard(place)

    def sync(self, folder: Path) -> None:
        """Make the names in a folder durable, and the name of the folder if it is new."""
        with self._root.folder(folder) as found:
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found)
            try:
                changes.disk.sync(descriptor)
            finally:
                os.close(descriptor)
        if folder in self._new:
            self.sync(folder.parent)
            self.removed(folder)
