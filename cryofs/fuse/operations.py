"""FUSE operations: calls to the file system, with exceptions mapped to errno values.

Threads: libfuse calls the operations concurrently, from its own threads.
"""

import errno
import functools
import itertools
import json
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from cryofs.error_hints import explain
from cryofs.errors import ChangedError, CryofsError, StuckError
from cryofs.fuse.control import ATTRIBUTE_PREFIX, FACTS_ATTRIBUTE, PROCESS_ATTRIBUTE
from cryofs.fuse.libfuse import mfusepy
from cryofs.fuse.loading import Loading
from cryofs.fuse.thread_states import keep_state
from cryofs.system import deadlines
from cryofs.system.fault_log import FaultLog
from cryofs.system.pid_namespace import pid_namespace
from cryofs.system.request_limit import RequestLimit
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.page_cache_policy import Pages

if TYPE_CHECKING:
    from cryofs.vfs.file_system import FileSystem
    from cryofs.vfs.listing import Listed, Listing

# Maximum number of concurrent read-ahead requests of the kernel; one file alone can use the default of 12.
_REQUESTS_AT_ONCE = 64
# Connection flag from fuse_common.h: the kernel chooses which listings include attributes.
_READDIRPLUS_AUTO = 1 << 14
_USER_NAMESPACE = "user."
# errno of exceptions without one; the first matching row applies.
_ERRNO: tuple[tuple[type[Exception], int], ...] = (
    (ChangedError, errno.ESTALE),
    (StuckError, errno.ETIMEDOUT),
    (FileNotFoundError, errno.ENOENT),
    (IsADirectoryError, errno.EISDIR),
    (Exception, errno.EIO),
)

P = ParamSpec("P")
R = TypeVar("R")


def with_errno(operation: "Callable[Concatenate[Operations, P], R]") -> "Callable[Concatenate[Operations, P], R]":
    """Convert each exception of an operation to an OSError with a suitable errno; log unexpected exceptions.

    The thread of the operation keeps its state in the interpreter.
    """

    @functools.wraps(operation)
    def guarded(self: "Operations", /, *args: P.args, **kwargs: P.kwargs) -> R:
        keep_state()
        try:
            if self.seconds is None:
                return operation(self, *args, **kwargs)
            with deadlines.within(self.seconds):
                return operation(self, *args, **kwargs)
        except Exception as error:
            if isinstance(error, CryofsError):
                self.faults.error(str(error), error.facts)
            elif not isinstance(error, OSError):
                self.faults.error(f"unexpected error in {operation.__name__}", {}, error)
            elif error.errno == errno.EIO:
                # administrators need to know about storage failures, not only the reading program
                self.faults.error(f"{args[0]}: {explain(error)}", {"file": args[0]})
            raise mfusepy.FuseOSError(_errno_of(error)) from error

    return guarded


def _errno_of(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    return next(number for kind, number in _ERRNO if isinstance(error, kind))


class Operations(mfusepy.Operations):
    """The FUSE operations of a mount, with the interface of mfusepy.

    Parameters
    ----------
    loading : Loading
        The file system.
    readahead : int
        Maximum read-ahead of the kernel in bytes.
    on_live : callable
        Function to call once the kernel has accepted the mount.
    on_end : callable
        Function to call after unmounting, or after a failed start.
    limit : RequestLimit or None
        The limit of the kernel for a request; no request takes longer than its share of it.
    facts : dict or None
        Figures of the mount that the file system does not know.

    Attributes
    ----------
    seconds : float or None
        Time limit of a request.
    faults : FaultLog
        Log of the errors of requests.
    """

    use_ns = True

    def __init__(
        self,
        loading: Loading,
        readahead: int,
        on_live: Callable[[], None],
        on_end: Callable[[], None],
        limit: RequestLimit | None = None,
        facts: dict[str, Any] | None = None,
    ):
        self.faults = FaultLog(logging.getLogger("cryofs"))
        self.seconds = limit.request_seconds if limit else None
        self._mount_facts = {"readahead": readahead, **(facts or {})}
        self._loading = loading
        self._readahead = readahead
        self._on_live = on_live
        self._on_end = on_end
        # single dictionary operations need no lock
        self._listings: dict[int, Listing] = {}
        self._handles = itertools.count(1)

    @functools.cached_property
    def _files(self) -> "FileSystem":
        """Wait for the file system, and return it."""
        return self._loading.files()

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Start the threads, which must not exist before the process has daemonised, and configure the connection."""
        self._loading.start()
        # the process is that of the command until it daemonises
        self._process = {"pid": os.getpid(), "pid_namespace": pid_namespace()}
        if conn_info is not None:
            conn_info.max_readahead = self._readahead
            # requests for a hanging file must not block those for other files
            conn_info.max_background = conn_info.congestion_threshold = _REQUESTS_AT_ONCE
            # otherwise programs that read all names first, such as find and du, get attributes only for the first few
            conn_info.want &= ~_READDIRPLUS_AUTO
        if config_3 is not None:
            config_3.use_ino = 1
        self._on_live()

    @with_errno
    def destroy(self, path: str) -> None:
        """Call `on_end` when the mount ends."""
        self._on_end()

    @with_errno
    def getattr(self, path: str, info: Any = None) -> Attributes:
        """Return the attributes of a path, or of an open file if libfuse passes one."""
        return self._files.attributes(path) if info is None else self._files.open_attributes(info.fh)

    @with_errno
    def opendir(self, path: str) -> int:
        """Begin a listing of a folder; return its handle."""
        handle = next(self._handles)
        self._listings[handle] = self._files.listing(path)
        return handle

    @with_errno
    def readdir_with_offset(self, path: str, offset: int, fh: int) -> "list[Listed]":
        """Return the next group of entries of a folder from a position on; empty at the end."""
        return self._files.listed(self._listings[fh], offset)

    @with_errno
    def releasedir(self, path: str, fh: int) -> int:
        """End a listing."""
        del self._listings[fh]
        return 0

    @with_errno
    def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return self._files.read_link(path)

    @with_errno
    def open(self, path: str, info: Any) -> int:
        """Open a file for reading; return its handle."""
        if info.flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "the mount is read-only", path)
        info.fh = self._files.open(path)
        pages = self._files.pages(info.fh)
        info.keep_cache = pages is Pages.KEEP
        info.direct_io = pages is Pages.BYPASS
        return 0

    @with_errno
    def read_buf(self, path: str, buffers: Any, size: int, offset: int, info: Any) -> int:
        """Reply with bytes of an open file."""
        # imported late, because it loads NumPy, and mounting must not wait for it
        from cryofs.fuse.reply import Reply

        reply = Reply(size)
        try:
            reply.put(self._files.read(info.fh, size, offset, reply.memory))
            reply.hand_over(buffers)
        finally:
            reply.free()
        return 0

    @with_errno
    def release(self, path: str, info: Any) -> int:
        """Close a file."""
        self._files.release(info.fh)
        return 0

    @with_errno
    def statfs(self, path: str) -> dict[str, int]:
        """Return size and free space of the file system that contains the archive."""
        found = self._files.statistics()
        return {name: getattr(found, name) for name in _STATVFS_NAMES}

    @with_errno
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """Return an extended attribute of the root or an EER movie: all figures as JSON, or a single figure."""
        if not name.startswith(_USER_NAMESPACE):
            # without this error, `ls` requests access lists and security labels of every file
            raise OSError(errno.EOPNOTSUPP, "attribute namespace not supported", path)
        if name == PROCESS_ATTRIBUTE and path == "/":
            return json.dumps(self._process).encode()
        facts = (self._facts(path) or {}) if name.startswith(ATTRIBUTE_PREFIX) else {}
        if name == FACTS_ATTRIBUTE and facts:
            return json.dumps(facts).encode()
        fact = name.removeprefix(ATTRIBUTE_PREFIX)
        if fact not in facts:
            raise OSError(mfusepy.ENOATTR, "no such attribute", path)
        value = facts[fact]
        return os.fsencode(json.dumps(value) if isinstance(value, dict) else str(value))

    @with_errno
    def listxattr(self, path: str) -> list[str]:
        """Return the names of the extended attributes of a path."""
        facts = self._facts(path)
        if facts is None:
            return []
        # single figures are not listed, so that programs that copy attributes copy only the JSON
        return [FACTS_ATTRIBUTE, *(ATTRIBUTE_PREFIX + fact for fact in facts if path == "/")]

    def _facts(self, path: str) -> dict[str, Any] | None:
        if path == "/":
            return {**self._files.facts(), **self._process, **self._mount_facts}
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
