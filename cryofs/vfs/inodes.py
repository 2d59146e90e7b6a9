"""Inode numbers of the mount: names that show different bytes never share one.

A file on the archive's own file system that is shown unchanged keeps its inode number, so hard links stay hard links.
Every other number is a hash of its inputs: the stored inode, where its file system begins beneath the archive,
and the derived form of the file. Device numbers do not count, because remote file systems get a new one per mount.

A hash has 62 random bits, and bit 62 set, which local file systems leave clear. Among a million such files two share a
number with a probability of 1e-7 (n^2 / 2^63). All numbers fit into signed integers of 64 bits, and none is 0.

Threads: safe to call from any thread.
"""

import hashlib
import os
import stat
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes, attributes_of

_HASHED = 1 << 62


def hashed_inode(inode: int, *parts: str) -> int:
    """Return the inode number of a file derived from the file `inode`; `parts` identify it and contain no NUL."""
    data = "\0".join((str(inode), *parts))
    digest = hashlib.blake2b(os.fsencode(data), digest_size=8).digest()
    return int.from_bytes(digest) >> 2 | _HASHED


def made_of(stored: Attributes, *parts: str) -> Attributes:
    """Return the attributes of a derived file: those of the stored file, with one link and another inode number."""
    return replace(stored, inode=hashed_inode(stored.inode, *parts), links=1)


class FolderInodes:
    """Inode numbers of the entries of one folder of the archive.

    Parameters
    ----------
    root : Root
        The archive.
    folder : Path
        The folder. It is read only if entries are on another file system than the archive.
    """

    def __init__(self, root: Root, folder: Path):
        self._root = root
        self._folder = folder

    def attributes(self, name: str, found: os.stat_result, view: str = "") -> Attributes:
        """Return the attributes of a stored entry; folders of a view differ from those of the main view."""
        attributes = attributes_of(found)
        if found.st_dev != self._root.device:
            attributes = replace(attributes, inode=hashed_inode(found.st_ino, "file system", self._begin(name, found)))
        elif found.st_ino == 0:
            attributes = replace(attributes, inode=hashed_inode(0, "inode 0"))
        if view and stat.S_ISDIR(found.st_mode):
            attributes = replace(attributes, inode=hashed_inode(attributes.inode, "view", view))
        return attributes

    def _begin(self, name: str, found: os.stat_result) -> str:
        """Return the place where the file system of an entry begins, relative to the archive."""
        begin, device = self._above
        if found.st_dev != device:
            begin = self._folder / name
        return str(begin.relative_to(self._root.path))

    @cached_property
    def _above(self) -> tuple[Path, int]:
        """Return the place where the file system of the folder begins, and its device number."""
        begin, last = self._root.path, self._root.device
        for place, device in self._root.devices(self._folder):
            if device != last:
                begin, last = place, device
        return begin, last
