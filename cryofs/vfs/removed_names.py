"""Derived names that a program has removed: they stay hidden while their source is the same.

So commands that remove a folder, or make it equal to another, can remove all that they have listed. The names are
forgotten when the mount ends.

Threads: safe to call from any thread; single operations on a dictionary need no lock.
"""

from pathlib import Path

from cryofs.vfs.nodes import Node

_Source = tuple[Path, int, int]


class RemovedNames:
    """Removed derived names by their place, with the file from which each was derived."""

    def __init__(self) -> None:
        self._removed: dict[Path, _Source] = {}

    def add(self, place: Path, node: Node) -> None:
        """Hide a derived name, whose node this is."""
        self._removed[place] = _source(node)

    def hides(self, place: Path, node: Node) -> bool:
        """Return True if the name was removed, and this node is derived from the same file as then."""
        return bool(self._removed) and self._removed.get(place) == _source(node)


def _source(node: Node) -> _Source:
    found = node.stored
    return (node.path, 0, 0) if found is None else (node.path, found.st_dev, found.st_ino)
