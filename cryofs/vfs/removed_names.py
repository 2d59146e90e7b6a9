"""Derived names that a program has removed: they stay hidden while their source is the same.

So commands that remove a folder, or make it equal to another, can remove all that they have listed. The names are
forgotten when the mount ends.

A derived name vanishes with its source. A program that has listed both may remove the source first, and then the
derived name, which succeeds for a while.

Threads: safe to call from any thread; single operations on a dictionary need no lock.
"""

import os
import time
from pathlib import Path

from cryofs.vfs.nodes import Node

# A program removes what it has listed within this time, one name after the other.
_SECONDS = 10.0
_MOST_VANISHED = 1 << 16

_Source = tuple[Path, int, int]


class RemovedNames:
    """Removed derived names by their place, with the file from which each was derived."""

    def __init__(self) -> None:
        self._removed: dict[Path, _Source] = {}
        self._vanished: dict[Path, float] = {}

    def add(self, place: Path, node: Node) -> None:
        """Hide a derived name, whose node this is."""
        self._removed[place] = _source(node.path, node.stored)

    @property
    def is_empty(self) -> bool:
        """True if no name was removed."""
        return not self._removed

    def hides(self, place: Path, path: Path, found: os.stat_result | None) -> bool:
        """Return True if the name was removed, and is derived from the same file as then, at a path and as found."""
        return bool(self._removed) and self._removed.get(place) == _source(path, found)

    def vanish(self, place: Path) -> None:
        """Note that the source of a derived name was removed."""
        self._vanished.pop(place, None)
        self._vanished[place] = time.monotonic()
        if len(self._vanished) > _MOST_VANISHED:
            self._vanished.pop(next(iter(self._vanished)), None)

    def has_vanished(self, place: Path) -> bool:
        """Return True if a derived name has vanished a short time ago; it counts as removed from then on."""
        return time.monotonic() - self._vanished.pop(place, -_SECONDS) < _SECONDS


def _source(path: Path, found: os.stat_result | None) -> _Source:
    return (path, 0, 0) if found is None else (path, found.st_dev, found.st_ino)
