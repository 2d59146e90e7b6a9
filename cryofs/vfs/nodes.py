"""Nodes: the names of a mount with their stored files and attributes."""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from cryofs.movies.folder_provider import FolderProvider
from cryofs.movies.registry import AnyProvider
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.inodes import FolderInodes, made_of
from cryofs.vfs.views import View


class Node(msgspec.Struct, frozen=True):
    """A name of the mount, with its stored file, kind and attributes.

    Attributes
    ----------
    path : Path
        Path of the stored file.
    kind : Provider, FolderProvider or None
        Kind as which the file is shown; None if it is shown unchanged.
    view : View
        The view in which the name was found.
    stored : os.stat_result or None
        Attributes of the stored file at lookup; None for a file outside the archive.
    has_size : bool
        Whether the size is known; otherwise it is a placeholder.
    is_elsewhere : bool
        Whether an unchanged file appears in a folder other than its own.
    problem : str or None
        Error of opening it, if it is known already.
    """

    path: Path
    kind: AnyProvider | FolderProvider | None
    attributes: Attributes
    view: View
    stored: os.stat_result | None
    has_size: bool = True
    is_elsewhere: bool = False
    problem: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether this is an unchanged file, folder or link in its own place."""
        return self.kind is None and not self.is_elsewhere


class Shown(NamedTuple):
    """What a folder shows of a file: a name, its attributes, and its node; None if only type and inode are known."""

    name: str
    attributes: Attributes
    node: Node | None


class Source(NamedTuple):
    """The stored file of a derived file, and whether it was found through a symbolic link."""

    path: Path
    found: os.stat_result
    linked: bool = False


def plain_node(root: Root, path: Path, found: os.stat_result, view: View) -> Node:
    """Return the node of a file, folder or link that is shown unchanged."""
    attributes = FolderInodes(root, path.parent).attributes(path.name, found, view.name)
    return Node(path, None, attributes, view, found)


def made_at(
    root: Root, place: Path, stored: Attributes, view: View, key: str, bytes_key: str = "", *, by_place: bool = False
) -> Attributes:
    """Return the attributes of a derived file at a place, except the size, which is that of the stored file.

    With `by_place`, for files found through a symbolic link or made with a gain reference, each place is a separate
    file with its own inode number. Otherwise the inode number does not depend on the place, so it survives a rename,
    and movies with hard-linked stored files share one and show the same bytes.

    Parameters
    ----------
    key, bytes_key : str
        Key of the kind, and key of all other inputs that determine the bytes, except the view.
    """
    where = str(place.relative_to(root.path)) if by_place else ""
    return made_of(stored, key, view.name, bytes_key, where)


def made_of_source(root: Root, place: Path, source: Source, view: View, kind: AnyProvider) -> Attributes:
    """Return the attributes of the file derived from a source at a place, with the size of the stored file."""
    stored = FolderInodes(root, source.path.parent).attributes(source.path.name, source.found)
    # hard links of one file in several folders may have different gain references
    by_place = source.linked or kind.applies_reference
    return made_at(root, place, stored, view, kind.key, kind.bytes_key(view.options), by_place=by_place)
