"""The operations that the kernel asks for, each one call to the file system; exceptions become errno only here.

Threads: libfuse calls in from its own threads, several at a time.
"""

import ctypes
import errno
import functools
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from cryofs.error_hints import explain
from cryofs.errors import ChangedError, CryofsError, StuckError
from cryofs.fuse.control import ATTRIBUTE_PREFIX, FACTS_ATTRIBUTE
from cryofs.fuse.libfuse import mfusepy
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.page_cache_policy import Pages

# Readers that go by st_blksize (C and Python buffered reads) then ask for pieces of this size.
_BLOCK_SIZE = 1 << 20
# Reads ahead that the kernel may have under way; its default of 12 is soon taken by one file.
_REQUESTS_AT_ONCE = 64
_USER_NAMESPACE = "user."
# Exceptions that carry no errno of their own; the first row that matches counts.
_ERRNO: tuple[tuple[type[Exception], int], ...] = (
    (ChangedError, errno.ESTALE),
    (StuckError, errno.ETIMEDOUT),
    (FileNotFoundError, errno.ENOENT),
    (IsADirectoryError, errno.EISDIR),
    (Exception, errno.EIO),
)

log = logging.getLogger("cryofs")
P = ParamSpec("P")
R = TypeVar("R")


def _with_errno(operation: Callable[P, R]) -> Callable[P, R]:
    """Let no exception out but OSError with a sensible errno; log what a user has to know."""

    @functools.wraps(operation)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(*args, **kwargs)
        except Exception as error:
            if isinstance(error, CryofsError):
                log.error("%s", error, extra={"facts": error.facts})
            elif not isinstance(error, OSError):
                log.exception("unexpected error in %s", operation.__name__)
            elif error.errno == errno.EIO:
                # the storage fails, which concerns more than the program that reads
                log.error("%s: %s", args[1], explain(error), extra={"facts": {"file": args[1]}})
            raise mfusepy.FuseOSError(_errno_of(error)) from error

    return guarded


def _errno_of(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    return next(number for kind, number in _ERRNO if isinstance(error, kind))


class Operations(mfusepy.Operations):
    """The file system as mfusepy wants it.

    Parameters
    ----------
    readahead : int
        Bytes that the kernel may read ahead.
    on_live : callable
        Called once the kernel has taken the mount.
    on_end : callable
        Called once it is unmounted.
    """

    use_ns = True

    def __init__(self, files: FileSystem, readahead: int, on_live: Callable[[], None], on_end: Callable[[], None]):
        self._files = files
        self._readahead = readahead
        self._on_live = on_live
        self._on_end = on_end

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Start threads, which must wait for the process to have daemonised, and tune the connection."""
        self._files.start()
        if conn_info is not None:
            conn_info.max_readahead = self._readahead
            # requests of one file that is stuck must not take the places of all others
            conn_info.max_background = conn_info.congestion_threshold = _REQUESTS_AT_ONCE
        if config_3 is not None:
            config_3.use_ino = 1
        self._on_live()

    @_with_errno
    def destroy(self, path: str) -> None:
        """Stop threads when the mount ends."""
        self._on_end()
        self._files.stop()

    @_with_errno
    def getattr(self, path: str, info: Any = None) -> dict[str, int]:
        """Attributes as stat shows them; of an open file where a reader of it has come to the end that is known."""
        return _stat(self._files.attributes(path) if info is None else self._files.open_attributes(info.fh))

    @_with_errno
    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """Names in a folder."""
        return list(self._entries(path))

    def _entries(self, path: str) -> Iterator[tuple[str, dict[str, int], int]]:
        for name in (".", ".."):
            yield name, {}, 0
        for name, attributes in self._files.names(path):
            yield name, {"st_mode": attributes.mode, "st_ino": attributes.inode}, 0

    @_with_errno
    def readlink(self, path: str) -> str:
        """Where a symbolic link points."""
        return self._files.read_link(path)

    @_with_errno
    def open(self, path: str, info: Any) -> int:
        """Open a file for reading."""
        if info.flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "the mount is read-only", path)
        info.fh = self._files.open(path)
        pages = self._files.pages(info.fh)
        info.keep_cache = pages is Pages.KEEP
        info.direct_io = pages is Pages.BYPASS
        return 0

    @_with_errno
    def read(self, path: str, size: int, offset: int, info: Any) -> Any:
        """Bytes of a file; those of a frame without copying them first."""
        data = self._files.read(info.fh, size, offset)
        if isinstance(data, bytes):
            return data
        return (ctypes.c_char * len(data)).from_buffer(data.data)

    @_with_errno
    def release(self, path: str, info: Any) -> int:
        """Close a file."""
        self._files.release(info.fh)
        return 0

    @_with_errno
    def statfs(self, path: str) -> dict[str, int]:
        """Size and room of the archive's own file system."""
        found = self._files.statistics()
        return {name: getattr(found, name) for name in _STATVFS_NAMES}

    @_with_errno
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """The facts of the mount, on its root, and of EER movies: all of them as JSON, or one."""
        if not name.startswith(_USER_NAMESPACE):
            # `ls` asks for access lists and labels: for those of every file, unless it hears that there are none here
            raise OSError(errno.EOPNOTSUPP, "no attributes of this kind", path)
        facts = (self._facts(path) or {}) if name.startswith(ATTRIBUTE_PREFIX) else {}
        if name == FACTS_ATTRIBUTE and facts:
            return json.dumps(facts).encode()
        fact = name.removeprefix(ATTRIBUTE_PREFIX)
        if fact not in facts:
            raise OSError(mfusepy.ENOATTR, "no such attribute", path)
        return os.fsencode(str(facts[fact]))

    @_with_errno
    def listxattr(self, path: str) -> list[str]:
        """Names of extended attributes."""
        facts = self._facts(path)
        if facts is None:
            return []
        # programs that copy files with their attributes need not copy each fact
        return [FACTS_ATTRIBUTE, *(ATTRIBUTE_PREFIX + fact for fact in facts if path == "/")]

    def _facts(self, path: str) -> dict[str, Any] | None:
        if path == "/":
            return {**self._files.facts(), "readahead": self._readahead}
        return self._files.file_facts(path)


_STATVFS_NAMES = (
    "f_bavail",
    "f_bfree",
    "f_blocks",
    "f_bsize",
    "f_favail",
    "f_ffree",
    "f_files",
    "f_frsize",
    "f_namemax",
)


def _stat(attributes: Attributes) -> dict[str, int]:
    return {
        "st_mode": attributes.mode,
        "st_size": attributes.size,
        "st_mtime": attributes.mtime_ns,
        "st_atime": attributes.atime_ns,
        "st_ctime": attributes.ctime_ns,
        "st_uid": attributes.uid,
        "st_gid": attributes.gid,
        "st_ino": attributes.inode,
        "st_nlink": attributes.links,
        "st_blksize": _BLOCK_SIZE,
        "st_blocks": attributes.blocks,
    }
