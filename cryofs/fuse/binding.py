"""The binding to libfuse, extended: listings carry attributes, so that programs need not request them for each name.

Threads: libfuse calls in from its own threads, concurrently.
"""

import ctypes
from typing import Any

from cryofs.fuse.libfuse import mfusepy

# from fuse.h
_READDIR_PLUS = 1 << 0
_FILL_DIR_PLUS = 1 << 1


class Fuse(mfusepy.FUSE):
    """Mounts a file system and serves it.

    The operations return a listing in pieces, by `readdir_with_offset`. Each entry states whether its attributes are
    complete.
    """

    def readdir_fuse_3(self, path: bytes, buf: Any, filler: Any, offset: int, fip: Any, flags: int) -> int:
        """Pass some entries of a folder to libfuse, with attributes where they are complete and the kernel wants them.

        An entry with attributes counts as a lookup, except "." and "..", which libfuse excludes too.
        """
        decoded = path.decode(self.encoding, self.errors)
        attributes = mfusepy.c_stat()
        by_reference = ctypes.byref(attributes)
        for name, found, following, is_complete in self.operations.readdir_with_offset(
            decoded, offset, fip.contents.fh
        ):
            is_plus = is_complete and flags & _READDIR_PLUS
            if is_plus:
                mfusepy.set_st_attrs(attributes, found, use_ns=True)
            else:
                attributes.st_mode, attributes.st_ino = found["st_mode"], found["st_ino"]
            encoded = name.encode(self.encoding, self.errors)
            if filler(buf, encoded, by_reference, following, _FILL_DIR_PLUS if is_plus else 0):
                break
        return 0
