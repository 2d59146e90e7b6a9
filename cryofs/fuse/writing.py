"""FUSE operations of a writable mount.

Threads: libfuse calls the operations from its own threads, concurrently.
"""

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from cryofs.fuse.control import SETTLE_ATTRIBUTE
from cryofs.fuse.libfuse import mfusepy
from cryofs.fuse.operations import Operations, with_errno
from cryofs.vfs.page_cache_policy import Pages

if TYPE_CHECKING:
    from cryofs.vfs.callers import Caller
    from cryofs.vfs.writable import WritableFileSystem

# Flag of a connection, from fuse_common.h: data of writes come in pipes instead of memory. A pipe is too small for a
# write of 1 MiB and its header.
_SPLICE_READ = 1 << 9


class WritingOperations(Operations):
    """The operations of a mount, and those that change files."""

    _files: "WritableFileSystem"

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Configure the connection, and start the threads."""
        if conn_info is not None:
            conn_info.want &= ~_SPLICE_READ
        super().init_with_config(conn_info, config_3)

    @with_errno
    def open(self, path: str, info: Any) -> int:
        """Open a file."""
        info.fh = self._files.open(path, info.flags)
        self._set_pages(info)
        return 0

    @with_errno
    def create(self, path: str, mode: int, info: Any) -> int:
        """Create and open a file."""
        info.fh = self._files.create(path, mode, info.flags, _caller())
        self._set_pages(info)
        return 0

    @with_errno
    def mknod(self, path: str, mode: int, dev: int) -> int:
        """Create a regular file; other kinds are refused."""
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, "only regular files can be created", path)
        self._files.release(self._files.create(path, mode, os.O_EXCL, _caller()))
        return 0

    @with_errno
    def write_buf(self, path: str, data: memoryview, offset: int, info: Any) -> int:
        """Write bytes; return how many."""
        return self._files.write(info.fh, data, offset, is_late=bool(info.writepage))

    @with_errno
    def truncate(self, path: str, length: int, info: Any = None) -> int:
        """Cut or extend a file."""
        self._files.set_size(path, length, None if info is None else info.fh)
        return 0

    @with_errno
    def fallocate(self, path: str, mode: int, offset: int, size: int, info: Any) -> int:
        """Allocate, clear or remove bytes."""
        self._files.allocate(info.fh, mode, offset, size)
        return 0

    @with_errno
    def flush(self, path: str, info: Any) -> int:
        """Report write errors to a program that closes a file."""
        self._files.flush(info.fh)
        return 0

    @with_errno
    def fsync(self, path: str, datasync: int, info: Any) -> int:
        """Make a file durable."""
        self._files.sync(info.fh)
        return 0

    @with_errno
    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Make the names in a folder durable."""
        self._files.names.sync_folder(path)
        return 0

    @with_errno
    def mkdir(self, path: str, mode: int) -> int:
        """Create a folder."""
        self._files.names.make_folder(path, mode, _caller())
        return 0

    @with_errno
    def rmdir(self, path: str) -> int:
        """Remove a folder."""
        self._files.names.remove_folder(path)
        return 0

    @with_errno
    def unlink(self, path: str) -> int:
        """Remove a name."""
        self._files.names.remove(path)
        return 0

    @with_errno
    def rename(self, old: str, new: str, flags: int = 0) -> int:
        """Rename."""
        self._files.names.move(old, new, flags)
        return 0

    @with_errno
    def symlink(self, target: str, source: str) -> int:
        """Create a symbolic link `target` that contains `source`."""
        self._files.names.link_to(source, target, _caller())
        return 0

    @with_errno
    def link(self, target: str, source: str) -> int:
        """Refuse hard links, because libfuse would have separate pages for each name."""
        raise OSError(errno.EPERM, "hard links are not supported", target)

    @with_errno
    def chmod(self, path: str, mode: int, info: Any = None) -> int:
        """Set permission bits."""
        self._set(path, info, mode=stat.S_IMODE(mode))
        return 0

    @with_errno
    def chown(self, path: str, uid: int | None, gid: int | None, info: Any = None) -> int:
        """Set owner and group."""
        self._set(path, info, uid=uid, gid=gid)
        return 0

    @with_errno
    def utimens(self, path: str, times: Any = None, info: Any = None) -> int:
        """Set access and modification time."""
        self._set(path, info, atime_ns=times[0], mtime_ns=times[1])
        return 0

    @with_errno
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """Return an extended attribute of a file, or a status figure."""
        try:
            return super().getxattr(path, name, position)
        except OSError as error:
            if error.errno != mfusepy.ENOATTR:
                raise
        return self._files.attribute_changes.get_extended(path, name)

    @with_errno
    def listxattr(self, path: str) -> list[str]:
        """Return the names of extended attributes."""
        stored = self._files.attribute_changes.list_extended(path)
        return list(dict.fromkeys([*super().listxattr(path), *stored]))

    @with_errno
    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        """Set an extended attribute of a file, or make a request to the mount."""
        if name == SETTLE_ATTRIBUTE and path == "/":
            self._files.archived.settle_now()
            return 0
        self._files.attribute_changes.set_extended(path, name, value, options)
        return 0

    @with_errno
    def removexattr(self, path: str, name: str) -> int:
        """Remove an extended attribute."""
        self._files.attribute_changes.set_extended(path, name, None)
        return 0

    def _set(self, path: str, info: Any, **changed: int | None) -> None:
        from cryofs.vfs.changing import AttributeChange

        self._files.set_attributes(path, AttributeChange(**changed), None if info is None else info.fh)

    def _set_pages(self, info: Any) -> None:
        pages = self._files.pages(info.fh)
        info.keep_cache = pages is Pages.KEEP
        info.direct_io = pages is Pages.BYPASS


def _caller() -> "Caller":
    """Return the user of the program whose request this thread handles."""
    from cryofs.vfs.callers import Caller

    uid, gid, _ = mfusepy.fuse_get_context()
    return Caller(uid, gid)
