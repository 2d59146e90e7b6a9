"""The binding to libfuse for writable mounts: passes on what mfusepy drops.

mfusepy calls `rename` without the flags, merges the nanosecond values UTIME_NOW and UTIME_OMIT into the times, drops
the open file of `truncate`, `chmod`, `chown` and `utimens`, and describes buffers of `write_buf` wrongly.

Threads: libfuse calls in from its own threads, concurrently.
"""

import ctypes
import time
from typing import Any

from cryofs.fuse.binding import Fuse
from cryofs.fuse.reply import Buffers
from cryofs.system.file_calls import UTIME_NOW, UTIME_OMIT

_NANOSECONDS = 10**9
# uid_t and gid_t that leave an owner as it is
_SAME = 2**32 - 1


class WritingFuse(Fuse):
    """Mounts a writable file system and serves it."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> Any:
        """Rename with flags."""
        return self.operations.rename(self._decoded(old), self._decoded(new), flags)

    def truncate_fuse_3(self, path: bytes, length: int, fip: Any) -> Any:
        """Cut or extend a file, with its handle if there is one."""
        return self.operations.truncate(self._decoded(path), length, fip.contents if fip else None)

    def chmod_fuse_3(self, path: bytes, mode: int, fip: Any) -> Any:
        """Set permission bits, with the handle of the file if there is one."""
        return self.operations.chmod(self._decoded(path), mode, fip.contents if fip else None)

    def chown_fuse_3(self, path: bytes, uid: int, gid: int, fip: Any) -> Any:
        """Set the owner, None to leave it, with the handle of the file if there is one."""
        uid_or_same, gid_or_same = (None if one & _SAME == _SAME else one for one in (uid, gid))
        return self.operations.chown(self._decoded(path), uid_or_same, gid_or_same, fip.contents if fip else None)

    def utimens_fuse_3(self, path: bytes, buf: Any, fip: Any) -> Any:
        """Set times in nanoseconds, None to leave one, with the handle of the file if there is one."""
        now = time.time_ns()
        found = (buf.contents.actime, buf.contents.modtime) if buf else None
        times = (now, now) if found is None else (_time(found[0], now), _time(found[1], now))
        return self.operations.utimens(self._decoded(path), times, fip.contents if fip else None)

    def write_buf(self, path: bytes, buf: Any, offset: int, fip: Any) -> Any:
        """Write the bytes of a request, which are in memory of libfuse's, without copying them."""
        buffers = Buffers.from_address(ctypes.addressof(buf.contents))
        size = buffers.size - buffers.offset
        held = (ctypes.c_char * size).from_address((buffers.memory or 0) + buffers.offset)
        return self.operations.write_buf(self._decoded(path), memoryview(held).cast("B"), offset, fip.contents)

    def _decoded(self, path: bytes) -> str:
        return path.decode(self.encoding, self.errors)


def _time(found: Any, now: int) -> int | None:
    if found.tv_nsec == UTIME_OMIT:
        return None
    return now if found.tv_nsec == UTIME_NOW else found.tv_sec * _NANOSECONDS + found.tv_nsec
