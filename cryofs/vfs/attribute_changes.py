"""Changes of the attributes of files and folders in a writable mount: mode, owner, times, and attributes `user.*`.

Threads: safe to call from any thread.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cryofs.storage import changes
from cryofs.storage.extended_attributes import is_users
from cryofs.vfs.archive_root import path_in
from cryofs.vfs.changing import ArchivedMovies, AttributeChange, MountParts
from cryofs.vfs.name_changes import NameChanges, check_whole, is_archived, read_only
from cryofs.vfs.nodes import Node
from cryofs.vfs.open_files import OpenFile, PlainFile


class AttributeChanges:
    """Changes of attributes; each takes a path of the mount, which may be a hidden name of libfuse's."""

    def __init__(self, parts: MountParts, archived: ArchivedMovies, names: NameChanges):
        self._parts = parts
        self._archived = archived
        self._names = names

    def set(self, path: str, change: AttributeChange) -> None:
        """Set mode, owner or times."""
        if hidden := self._names.hidden.find(path):
            if hidden[0] is not None:
                set_open(hidden[0].file, change)
            return
        place, parts = self._names.place(path), self._parts
        self._names.leaving.settle(place)
        with parts.names.changing(place):
            node = self._changeable(path, place)
            if not node.is_plain:
                self._archived.set_attributes(place, change)
                return
            with parts.root.entry(place) as (folder, name):
                _set(folder, name, change)
            if change.mtime_ns is not None:
                parts.times.was_set(place, change.mtime_ns)

    def get_extended(self, path: str, name: str) -> bytes:
        """Return an attribute `user.*`; OSError (ENODATA) if there is none of this name."""
        if is_users(name):
            with self._found(path) as (node, place):
                if node is not None and not node.is_plain:
                    return self._archived.get_extended(place, name)
                if node is not None:
                    with self._parts.root.entry(place) as (folder, entry):
                        return os.getxattr(path_in(folder, entry), name, follow_symlinks=False)
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), path)

    def list_extended(self, path: str) -> list[str]:
        """Return the names of the attributes `user.*`."""
        with self._found(path) as (node, place):
            if node is None:
                return []
            if not node.is_plain:
                return self._archived.list_extended(place)
            with self._parts.root.entry(place) as (folder, entry):
                names = os.listxattr(path_in(folder, entry), follow_symlinks=False)
        return list(filter(is_users, names))

    def set_extended(self, path: str, name: str, value: bytes | None, flags: int = 0) -> None:
        """Set an attribute `user.*`, with the flags of setxattr(2), or remove it (None)."""
        if not is_users(name):
            raise OSError(errno.EOPNOTSUPP, "attribute namespace not supported", path)
        place, parts = self._names.place(path), self._parts
        with parts.names.changing(place):
            node = self._changeable(path, place)
            if not node.is_plain:
                self._archived.set_extended(place, name, value, flags)
                return
            with parts.root.entry(place) as (folder, entry):
                target = path_in(folder, entry)
                if value is None:
                    changes.disk.remove_attribute(target, name)
                else:
                    changes.disk.set_attribute_of(target, name, value, flags)

    @contextlib.contextmanager
    def _found(self, path: str) -> Iterator[tuple[Node | None, Path]]:
        """Lock a path in the context, and yield its node, if it is a file of the main view, and its place."""
        view, place = self._parts.tree.view_of(path)
        if view.name or self._names.hidden.find(path):
            yield None, place
            return
        # otherwise an ingestion may replace the stored file
        with self._parts.names.locked(place):
            node = self._parts.tree.lookup(path)
            yield (node if node.is_plain or is_archived(node, place) else None), place

    def _changeable(self, path: str, place: Path) -> Node:
        node = self._parts.tree.lookup(path)
        if not (node.is_plain or is_archived(node, place)):
            raise read_only(path)
        check_whole(node)
        return node


def _set(folder: int, name: str, change: AttributeChange) -> None:
    if change.uid is not None or change.gid is not None:
        changes.disk.set_owner_in(folder, name, _or_same(change.uid), _or_same(change.gid))
    # after the owner, because a change of owner clears bits
    if change.mode is not None:
        changes.disk.set_mode(path_in(folder, name), change.mode)
    if change.atime_ns is not None or change.mtime_ns is not None:
        changes.disk.set_times_in(folder, name, change.atime_ns, change.mtime_ns)


def set_open(file: OpenFile, change: AttributeChange) -> None:
    """Set attributes of an open file; those of an archived movie without a name are lost with it."""
    if isinstance(file, PlainFile):
        set_attributes(file.descriptor, change)


def set_attributes(descriptor: int, change: AttributeChange) -> None:
    """Set attributes of an open file of the archive."""
    if change.uid is not None or change.gid is not None:
        changes.disk.set_owner(descriptor, _or_same(change.uid), _or_same(change.gid))
    if change.mode is not None:
        changes.disk.set_mode(descriptor, change.mode)
    if change.atime_ns is not None or change.mtime_ns is not None:
        changes.disk.set_times_of(descriptor, change.atime_ns, change.mtime_ns)


def _or_same(number: int | None) -> int:
    return -1 if number is None else number
