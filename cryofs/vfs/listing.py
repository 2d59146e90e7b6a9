"""Listings of folders, one group of entries at a time, with all attributes that are known without another read.

A listing keeps only the stored names of the folder. The entries of a group are made from the current files, so their
attributes are as recent as those of a lookup.

Threads: not thread-safe; use a listing for one request at a time.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from cryofs.errors import CryofsError
from cryofs.formats.archive_names import is_movie_name, is_reference_name
from cryofs.movies import registry
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.by_name import ByName
from cryofs.vfs.inodes import FolderInodes
from cryofs.vfs.namespace import Tree
from cryofs.vfs.nodes import Node, Shown
from cryofs.vfs.views import View

# Number of stored names in the first group. Later groups have the size that the reader consumed of the previous one.
_FIRST_GROUP = 32
_LARGEST_GROUP = 1024
# Records that a listing reads; files beyond that are listed by name until their records are known.
_MOST_RECORDS = 1024
# Time that a listing waits for the index, before it lists files by name.
_INDEX_SECONDS = 5.0
_ATTEMPTS = 5
# Positions: "." and "..", then two for each stored name, the entry in its place and the entry beside it.
_OWN, _EACH = 2, 2


class Entry(NamedTuple):
    """An entry of a listing.

    Attributes
    ----------
    node : Node or None
        None for a file that is listed by its name.
    attributes : Attributes
        Only type and inode are right, unless `is_complete`.
    next : int
        Position of the next entry.
    """

    name: str
    node: Node | None
    attributes: Attributes
    is_complete: bool
    next: int


class Listed(NamedTuple):
    """An entry as reported to the kernel, with the fields of `Entry`."""

    name: str
    attributes: Attributes
    is_complete: bool
    next: int


class Listing:
    """A listing of a folder of the mount, in the order of the stored names.

    Parameters
    ----------
    path : str
        Path of the folder in the mount.
    """

    def __init__(self, tree: Tree, path: str):
        self.path = path
        self._tree = tree
        self._folder: Node | None = None
        self._stored: list[str] = []
        self._every: frozenset[str] = frozenset()
        self._shared_stems: set[str] = set()
        self._added: list[str] | None = None
        self._has_movies = False
        self._may_read = _MOST_RECORDS
        # positions of listed names that several stored files could provide
        self._listed_at: dict[str, int] = {}
        self._group = _FIRST_GROUP
        self._last: list[int] = []

    def group(self, position: int) -> list[Entry]:
        """Return the next group of entries from a position on, empty at the end; position 0 reads the folder again.

        Movies whose metadata cannot be read in time are listed like damaged ones.
        """
        folder = self._folder
        if folder is None or position == 0:
            folder = self._begin()
        self._set_size(position)
        found = self._tree.inodes.consistent(lambda: [self._as_shown(one) for one in self._found(folder, position)])
        self._last = [entry.next for entry in found]
        return found

    def _found(self, folder: Node, position: int) -> list[Entry]:
        """Return the entries of a group, with the inode numbers of the files themselves."""
        found: list[Entry] = []
        end = _OWN + _EACH * len(self._stored)
        while position < end and not found:
            if position < _OWN:
                found.extend(self._own_entries(folder, position))
                position = _OWN
            first = (position - _OWN) // _EACH
            names = self._stored[first : first + self._group]
            found.extend(entry for entry in self._entries(folder, first, names) if entry.next > position)
            position = _OWN + _EACH * (first + len(names))
        if not found:
            found.extend(self._added_entries(folder, position - end, end))
        return found

    def _as_shown(self, entry: Entry) -> Entry:
        own = entry.attributes.inode
        number = self._tree.inodes.shown(own)
        if number == own:
            return entry
        node = None if entry.node is None else self._tree.as_shown(entry.node)
        return entry._replace(node=node, attributes=replace(entry.attributes, inode=number))

    def _begin(self) -> Node:
        folder = self._folder = self._tree.lookup(self.path)
        self._stored = self._names(folder)
        stems = Counter(name.partition(".")[0] for name in self._stored)
        self._shared_stems = {stem for stem, count in stems.items() if count > 1}
        self._every = frozenset(self._stored) if self._shared_stems else frozenset()
        self._added, self._has_movies = None, False
        self._may_read = _MOST_RECORDS
        inodes = FolderInodes(self._tree.root, folder.path)
        self._by_name = ByName(self._tree.root, folder.path, folder.view, inodes)
        self._listed_at.clear()
        return folder

    def _names(self, folder: Node) -> list[str]:
        """Return the stored names; list again if names changed meanwhile, because one that moved may be missing."""
        root = self._tree.root
        for _ in range(_ATTEMPTS):
            before = root.lstat(folder.path).st_mtime_ns
            names = root.names(folder.path)
            if root.lstat(folder.path).st_mtime_ns == before:
                break
        return names

    def _set_size(self, position: int) -> None:
        """Adapt the group size to the number of entries that the reader consumed; all others are created again."""
        taken = sum(after <= position for after in self._last)
        if taken == len(self._last):
            self._group = min(2 * self._group, _LARGEST_GROUP)
        elif taken:
            self._group = taken + 1

    def _own_entries(self, folder: Node, position: int) -> Iterator[Entry]:
        """Yield the entries "." and "..", without complete attributes."""
        above = self._tree.lookup(os.path.dirname(self.path))  # noqa: PTH120 - a path of the mount
        names = (".", folder, folder.attributes), ("..", above, above.attributes)
        own = [Entry(*each, False, after) for after, each in enumerate(names, 1)]
        yield from own[position:]

    def _entries(self, folder: Node, first: int, names: list[str]) -> Iterator[Entry]:
        """Yield the entries of stored names; `first` is the number of the first name in the folder."""
        tree, view = self._tree, folder.view
        files = dict(tree.root.attributes(folder.path, names))
        unread = set() if view.stored_files else self._read_or_skip(folder, files)
        inodes = FolderInodes(tree.root, folder.path)
        for number, name in enumerate(names, first):
            position = _OWN + _EACH * number
            if (found := files.get(name)) is None:
                if moved := self._moved(folder, name, position):
                    yield moved
                continue
            if name in unread:
                shown = self._by_name.shown(name, found)
                if not (removed := tree.removed).is_empty:
                    path = folder.path / name
                    shown = [one for one in shown if not removed.hides(folder.path / one.name, path, found)]
            else:
                shown = self._by_record(folder.path / name, found, inodes.attributes(name, found, view.name), view)
            for place, each in enumerate(shown, 1):
                # behind the last entry of a name, the next name follows
                after = position + (place if place < len(shown) else _EACH)
                if entry := self._entry(folder, each, position + place, after):
                    yield entry

    def _by_record(self, path: Path, found: os.stat_result, stored: Attributes, view: View) -> list[Shown]:
        """Return what is shown of a stored file according to its metadata, in the order of a listing.

        What is derived comes first, so that programs that remove all names in this order find each of them.
        """
        entries = self._tree.entries
        own = entries.listed(path, found, stored, view)
        if own is None:
            return []
        is_plain = own.node is not None and own.node.kind is None
        beside = entries.listed_beside(path, found, view) if is_plain and not view.stored_files else None
        if beside is None or self._tree.removed.hides(path.with_name(beside.name), path, found):
            return [own]
        return [beside, own]

    def _read_or_skip(self, folder: Node, files: dict[str, os.stat_result]) -> set[str]:
        """Read the metadata of a group, or return the names of the files that are listed by name.

        The index of an earlier mount is faster than the files, so a listing waits for it before it skips them.
        """
        facts = self._tree.facts
        unread = facts.unread(files.items())
        if len(unread) > self._may_read and not facts.index_loaded.is_set():
            facts.index_loaded.wait(_INDEX_SECONDS)
            unread = facts.unread(files.items())
        if not unread:
            return set()
        self._may_read -= len(unread)
        if self._may_read >= 0:
            facts.read_ahead(folder.path, unread)
            return set()
        facts.batches.add(folder.path, self._stored)
        return set(unread)

    def _moved(self, folder: Node, stored: str, position: int) -> Entry | None:
        """Return the entry of a movie that has got its other form, plain or archived, since the folder was listed."""
        name = stored if is_movie_name(stored) else registry.replaced_name(stored)
        if name is None or folder.view.stored_files or self._listed_at.setdefault(name, position + 1) != position + 1:
            return None
        try:
            node = self._tree.node(folder.path / name, folder.view)
        except (CryofsError, OSError):
            return None
        return None if node is None else Entry(name, node, node.attributes, node.has_size, position + 1)

    def _entry(self, folder: Node, shown: Shown, place: int, after: int) -> Entry | None:
        """Return an entry, or None if the name was listed at another place; `after` is the next position."""
        name, attributes, node = shown
        if is_movie_name(name) and not folder.view.stored_files:
            self._has_movies = True
            if self._may_be_of_several(name) or _may_be_added(name):
                if self._listed_at.setdefault(name, place) != place:
                    return None
                if node is not None:
                    node = self._winner(folder, name, node)
                    attributes = node.attributes
        return Entry(name, node, attributes, node is not None and node.has_size, after)

    def _may_be_of_several(self, name: str) -> bool:
        """Return True if several stored files could provide a name."""
        # such files have names that differ only after the first dot
        if name.partition(".")[0] not in self._shared_stems:
            return False
        return sum(one in self._every for one in registry.names_behind(name)) > 1

    def _winner(self, folder: Node, name: str, node: Node) -> Node:
        """Return the node that a lookup finds for a name that several stored files could provide."""
        try:
            return self._tree.node(folder.path / name, folder.view) or replace(node, has_size=False)
        except (CryofsError, OSError):
            return replace(node, has_size=False)

    def _added_entries(self, folder: Node, number: int, end: int) -> Iterator[Entry]:
        """Yield the files of other folders that appear in this one, from `number` on; positions start at `end`."""
        if self._added is None:
            self._added = self._tree.added_names(folder, has_movies=self._has_movies)
        for after, name in enumerate(self._added[number:], end + number + 1):
            if name not in self._listed_at and (node := self._tree.added(folder.path / name, folder.view)):
                yield Entry(name, node, node.attributes, node.has_size, after)


def _may_be_added(name: str) -> bool:
    return is_reference_name(name) or any(provider.name == name for provider in registry.FOLDER_PROVIDERS)
