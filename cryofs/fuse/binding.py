"""The binding to libfuse, extended: listings carry attributes, so that programs need not request them for each name.

Threads: libfuse calls in from its own threads, concurrently.
"""

import ctypes
import os
from typing import Any

from cryofs.fuse.libfuse import mfusepy
from cryofs.vfs.attributes import Attributes

# from fuse.h
_READDIR_PLUS = 1 << 0
_FILL_DIR_PLUS = 1 << 1
# The folder itself and the one above.
_OWN_NAMES = (os.curdir, os.pardir)
# Size of buffered reads of programs that respect st_blksize (C and Python libraries).
_BLOCK_SIZE = 1 << 20
_NANOSECONDS = 10**9


class Fuse(mfusepy.FUSE):
    """Mounts a file system and serves it.

    The operations return attributes as `Attributes`, and a listing in groups of `Listed`, by `readdir_with_offset`.
    """

    def fgetattr(self, path: bytes, buf: Any, fip: Any) -> int:
        """Return the attributes of a path, or of an open file if libfuse passes one."""
        found = self.operations.getattr(path.decode(self.encoding, self.errors), fip.contents if fip else None)
        structure = buf.contents
        ctypes.memset(buf, 0, ctypes.sizeof(structure))
        _fill(structure, found)
        return 0

    def readdir_fuse_3(self, path: bytes, buf: Any, filler: Any, offset: int, fip: Any, flags: int) -> int:
        """Pass some entries of a folder to libfuse, with attributes where they are complete and the kernel wants them.

        An entry with attributes counts as a lookup, except "." and "..", which libfuse and the kernel exclude. Some
        versions of libfuse drop the inode number of an entry without attributes, so these two pass as complete.
        """
        decoded = path.decode(self.encoding, self.errors)
        structure = mfusepy.c_stat()
        reference = ctypes.byref(structure)
        for entry in self.operations.readdir_with_offset(decoded, offset, fip.contents.fh):
            is_plus = flags & _READDIR_PLUS and (entry.is_complete or entry.name in _OWN_NAMES)
            if entry.is_complete:
                _fill(structure, entry.attributes)
            else:
                structure.st_mode, structure.st_ino = entry.attributes.mode, entry.attributes.inode
            name = entry.name.encode(self.encoding, self.errors)
            if filler(buf, name, reference, entry.next, _FILL_DIR_PLUS if is_plus else 0):
                break
        return 0


def _fill(structure: Any, found: Attributes) -> None:
    """Copy attributes into a structure of stat(2)."""
    structure.st_mode = found.mode
    structure.st_size = found.size
    structure.st_uid = found.uid
    structure.st_gid = found.gid
    structure.st_ino = found.inode
    structure.st_nlink = found.links
    structure.st_blksize = _BLOCK_SIZE
    structure.st_blocks = found.blocks
    for time, value in (
        (structure.st_mtimespec, found.mtime_ns),
        (structure.st_atimespec, found.atime_ns),
        (structure.st_ctimespec, found.ctime_ns),
    ):
        time.tv_sec, time.tv_nsec = divmod(value, _NANOSECONDS)
