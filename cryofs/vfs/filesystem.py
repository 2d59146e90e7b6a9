"""The file system: lookups, listings, open files by handle. It knows nothing of FUSE and may be used without it.

Threads: any thread may call anything after `start`, which must come after daemonising, because threads do not survive a
fork. The lock guards the table of open files alone.
"""

import itertools
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryofs.frames.store import FrameStore
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain import GainLibrary
from cryofs.settings import Settings
from cryofs.vfs.files import Bytes, MovieFile, OpenFile, PlainFile
from cryofs.vfs.tree import Attributes, Node, Tree


class FileSystem:
    """An archive, shown as its originals, read-only.

    Parameters
    ----------
    archive : Path
        The archive's folder; opened here and reached through this descriptor from then on.
    """

    def __init__(self, archive: Path, settings: Settings):
        self.archive = archive.absolute()
        self._settings = settings
        self._descriptor = os.open(archive, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # a path through the descriptor reaches the archive even where a mount covers it
        root = Path(f"/proc/self/fd/{self._descriptor}")
        self._tree = Tree(root)
        self._gains = GainLibrary(root)
        self._handles = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[int, OpenFile] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._background: ThreadPoolExecutor | None = None
        self._store: FrameStore | None = None
        self._started = time.time()
        self._bytes_read = 0
        self._reads = 0

    def start(self) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(self._settings.jobs, thread_name_prefix="decode")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._store = FrameStore(self._settings.cache_size, self._background)

    def stop(self) -> None:
        """Stop the threads and release everything."""
        for pool in (self._background, self._pool):
            if pool is not None:
                # nothing is cancelled: closing a file waits for what was begun for it
                pool.shutdown()
        with self._lock:
            files = list(self._open.values())
            self._open.clear()
        for file in files:
            file.close()
        os.close(self._descriptor)

    def attributes(self, path: str) -> Attributes:
        """Attributes of a name."""
        return self._tree.lookup(path).attributes

    def names(self, path: str) -> list[tuple[str, Attributes]]:
        """Names in a folder, with attributes of which type and inode are right."""
        return self._tree.names(path)

    def read_link(self, path: str) -> str:
        """Where a symbolic link points."""
        return str(self._tree.lookup(path).path.readlink())

    def open(self, path: str) -> int:
        """Open a file; the handle is for `read` and `release`."""
        node = self._tree.lookup(path)
        file = self._open_node(node)
        with self._lock:
            handle = next(self._handles)
            self._open[handle] = file
        return handle

    def read(self, handle: int, size: int, offset: int) -> Bytes:
        """`size` bytes of an open file at `offset`, fewer only where the file ends."""
        with self._lock:
            file = self._open[handle]
        data = file.read(size, offset)
        with self._lock:
            self._reads += 1
            self._bytes_read += len(data)
        return data

    def release(self, handle: int) -> None:
        """Close an open file."""
        with self._lock:
            file = self._open.pop(handle)
        file.close()

    def statistics(self) -> os.statvfs_result:
        """Size and room of the file system that holds the archive."""
        return os.fstatvfs(self._descriptor)

    def facts(self) -> dict[str, Any]:
        """Who serves this mount, and what was read, decoded and found in the cache."""
        figures = vars(self._store.figures()) if self._store is not None else {}
        with self._lock:
            served = {"reads": self._reads, "bytes_read": self._bytes_read, "open_files": len(self._open)}
        return {
            "archive": str(self.archive),
            "pid": os.getpid(),
            "seconds": round(time.time() - self._started, 1),
            **served,
            **figures,
        }

    def _open_node(self, node: Node) -> OpenFile:
        if stat.S_ISDIR(node.attributes.mode):
            raise IsADirectoryError(node.path.name)
        descriptor = os.open(node.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not node.is_movie:
            return PlainFile(descriptor)
        if self._store is None:
            raise RuntimeError("the file system was not started")
        found = os.fstat(descriptor)
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        name = str(self.archive / node.path.relative_to(self._tree.root))
        return MovieFile(ArchivedMovie(node.path, self._gains, self._pool, descriptor, name), identity, self._store)
