"""Extension of mfusepy's binding to libfuse: listings include attributes, which saves one request per name.

Threads: libfuse calls the methods concurrently, from its own threads.
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
# Buffer size in bytes for programs that respect st_blksize, such as those that use the C or Python library.
_BLOCK_SIZE = 1 << 20
_NANOSECONDS = 10**9


class Fuse(mfusepy.FUSE):
    """FUSE binding whose operations return `Attributes`, and groups of `Listed` entries from `readdir_with_offset`."""

    def fgetattr(self, path: bytes, buf: Any, fip: Any) -> int:
        """Fill `buf` with the attributes of a path, or of an open file if libfuse passes one."""
        found = self.operations.getattr(path.decode(self.encoding, self.errors), fip.contents if fip else None)
        structure = buf.contents
        ctypes.memset(buf, 0, ctypes.sizeof(structure))
        _fill(structure, found)
        return 0

    def readdir_fuse_3(self, path: bytes, buf: Any, filler: Any, offset: int, fip: Any, flags: int) -> int:
        """Pass the next group of entries of a folder to libfuse, with attributes if these are complete and
        requested.

        Except for "." and "..", the kernel treats an entry with attributes as a lookup. Some versions of libfuse drop
        the inode number of an entry without attributes, so these two pass as complete.
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
    """Copy attributes into a `struct stat`."""
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
