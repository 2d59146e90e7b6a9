"""Folders of a writable mount whose own names may not be durable yet, because they were created or renamed.

A program that syncs a new file expects it to survive a power cut, so the names of new folders on the way to it are
synced too.

Threads: safe to call from any thread.
"""

import os
import threading
from pathlib import Path

from cryofs.storage import changes
from cryofs.vfs.archive_root import Root


class NewFolders:
    """New folders by their place."""

    def __init__(self, root: Root):
        self._root = root
        self._lock = threading.Lock()
        self._new: set[Path] = set()

    def add(self, place: Path) -> None:
        """Add a folder that was created."""
        with self._lock:
            self._new.add(place)

    def moved(self, place: Path, target: Path) -> None:
        """Follow the rename of a folder, whose new name is not durable."""
        with self._lock:
            self._new = {_renamed(one, place, target) for one in self._new} | {target}

    def exchanged(self, place: Path, other: Path) -> None:
        """Follow an exchange of two names, at least one of them that of a folder."""
        with self._lock:
            below = {one for one in self._new if one.is_relative_to(other)}
            moved = {_renamed(one, place, other) for one in self._new - below}
            self._new = moved | {_renamed(one, other, place) for one in below} | {place, other}

    def removed(self, place: Path) -> None:
        """Follow the removal of a folder."""
        with self._lock:
            self._new.discard(place)

    def sync(self, folder: Path) -> None:
        """Make the names in a folder durable, and those of the new folders on the way to it."""
        self._sync(folder)
        for above in (folder, *folder.parents):
            if above in self._new:
                self._sync(above.parent)

    def _sync(self, folder: Path) -> None:
        # a folder that is created during the call may be missed by it
        with self._lock:
            known = {place for place in self._new if place.parent == folder}
        with self._root.folder(folder) as found:
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found)
            try:
                changes.disk.sync(descriptor)
            finally:
                os.close(descriptor)
        with self._lock:
            self._new -= known


def _renamed(one: Path, place: Path, target: Path) -> Path:
    return target / one.relative_to(place) if one.is_relative_to(place) else one
