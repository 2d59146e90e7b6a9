"""Inode numbers of the mount: names that show different bytes never share one.

An unchanged file on the archive's own file system keeps its inode number, so hard links stay hard links. Every other
number is a hash of the stored inode number, the mountpoint of its file system within the archive, and the derived form
of the file. Device numbers are not included, because remote file systems get a new one for each mount.

A hash has 62 random bits, and sets bit 62, which local file systems leave clear. Among a million such files, the
probability that two share a number is 1e-7 (n^2 / 2^63). All numbers fit into signed 64-bit integers and are greater
than 0.

Threads: thread-safe.
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
    """Return the inode number of a file derived from `inode`; `parts` identify the derived file and contain no NUL."""
    data = "\0".join((str(inode), *parts))
    digest = hashlib.blake2b(os.fsencode(data), digest_size=8).digest()
    return int.from_bytes(digest) >> 2 | _HASHED


def made_of(stored: Attributes, *parts: str) -> Attributes:
    """Return the attributes of a derived file: those of the stored file, with one link and a hashed inode number."""
    return replace(stored, inode=hashed_inode(stored.inode, *parts), links=1)


class FolderInodes:
    """Inode numbers of the entries of a folder of the archive.

    Parameters
    ----------
    root : Root
        The archive.
    folder : Path
        The folder. It is accessed only if an entry is on another file system than the archive.
    """

    def __init__(self, root: Root, folder: Path):
        self._root = root
        self._folder = folder

    def attributes(self, name: str, found: os.stat_result, view: str = "") -> Attributes:
        """Return the attributes of a stored entry. The folders of each view have their own inode numbers."""
        attributes = attributes_of(found)
        if found.st_dev != self._root.device:
            attributes = replace(attributes, inode=hashed_inode(found.st_ino, "file system", self._begin(name, found)))
        elif found.st_ino == 0:
            attributes = replace(attributes, inode=hashed_inode(0, "inode 0"))
        if view and stat.S_ISDIR(found.st_mode):
            attributes = replace(attributes, inode=hashed_inode(attributes.inode, "view", view))
        return attributes

    def _begin(self, name: str, found: os.stat_result) -> str:
        """Return the mountpoint of the file system of an entry, relative to the archive."""
        begin, device = self._above
        if found.st_dev != device:
            begin = self._folder / name
        return str(begin.relative_to(self._root.path))

    @cached_property
    def _above(self) -> tuple[Path, int]:
        """Return the mountpoint of the file system of the folder, and its device number."""
        begin, last = self._root.path, self._root.device
        for place, device in self._root.devices(self._folder):
            if device != last:
                begin, last = place, device
        return begin, last
