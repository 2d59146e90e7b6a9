"""Nodes: the names of the mount, what each is made of, and the attributes that follow."""

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.inodes import FolderInodes, made_of
from cryofs.vfs.views import View, fingerprint


class Kind(Enum):
    """What is shown under a name."""

    PLAIN = "a file, folder or link as it is"
    MOVIE = "an archived movie as its original"
    COUNTS = "an archived movie as counts"
    FRACTIONS = "an EER movie as fractions"
    FOREIGN = "a TIFF movie of another program as MRC"
    REFERENCE = "a gain reference of a folder above, as it is"
    EER_GAIN = "the gain reference of EER movies"


@dataclass(frozen=True)
class Node:
    """A name of the mount.

    Attributes
    ----------
    path : Path
        The archive's file behind it.
    kind : Kind
        What is made of that file.
    view : View
        Where the name was found.
    stored : os.stat_result or None
        State in which the archive's file was found; None for a file outside the archive.
    has_size : bool
        Whether the size is that of what can be read; otherwise it is a placeholder.
    """

    path: Path
    kind: Kind
    attributes: Attributes
    view: View
    stored: os.stat_result | None
    has_size: bool = True


class Source(NamedTuple):
    """A file of the archive of which something is made, and whether it is found through a symbolic link."""

    path: Path
    found: os.stat_result
    linked: bool = False


def plain_node(root: Root, path: Path, found: os.stat_result, view: View) -> Node:
    """Return the node of a file, folder or link that is shown as it is."""
    attributes = FolderInodes(root, path.parent).attributes(path.name, found, view.name)
    return Node(path, Kind.PLAIN, attributes, view, found)


def made_at(
    root: Root, place: Path, stored: Attributes, kind: Kind, view: View, *, by_place: bool = False
) -> Attributes:
    """Return the attributes of what a stored file is shown as at a place, with the size of the stored file.

    What is found through a symbolic link (`by_place`) is a file of its own at each place. Otherwise the place does not
    count, so that a file keeps its inode when it is renamed; movies whose stored files are hard links of each other
    share an inode and show the same bytes.
    """
    where = str(place.relative_to(root.path)) if by_place else ""
    rendering = fingerprint(view.rendering) if kind in (Kind.FRACTIONS, Kind.EER_GAIN) else ""
    return made_of(stored, kind.name, view.name, rendering, where)


def made_of_source(root: Root, place: Path, source: Source, kind: Kind, view: View) -> Attributes:
    """Return the attributes of what a source is shown as at a place, with the size of the source."""
    stored = FolderInodes(root, source.path.parent).attributes(source.path.name, source.found)
    return made_at(root, place, stored, kind, view, by_place=source.linked)
