"""The file system, independent of FUSE: lookups, listings, and open files by handle.

Threads: thread-safe after `start`. Call `start` after daemonising, because threads do not survive a fork. The lock
guards the table of open files and the read counters.
"""

import functools
import itertools
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.cache.frame_cache import FrameCache
from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, CryofsError
from cryofs.movies.provider import Provider, ShowOptions
from cryofs.storage.file_state import state_of
from cryofs.system.mount_table import may_be_remote
from cryofs.system.thread_pools import READING_THREADS, Pools
from cryofs.text import printable
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import AS_ARCHIVED, Attributes, Ownership
from cryofs.vfs.change_times import ChangeTimes
from cryofs.vfs.facts import UnsurveyedError
from cryofs.vfs.findings import FindingsTable
from cryofs.vfs.index_db import index_path
from cryofs.vfs.indexer import Indexer
from cryofs.vfs.io_executor import InlineExecutor, IoExecutor
from cryofs.vfs.listing import Entry, Listed, Listing
from cryofs.vfs.main_view import main_gains, main_rendering
from cryofs.vfs.namespace import Tree
from cryofs.vfs.nodes import Node
from cryofs.vfs.open_files import Bytes, MovieFile, OpenFile
from cryofs.vfs.opening import Opener
from cryofs.vfs.page_cache_policy import PageKeeper, Pages
from cryofs.vfs.preparation import PAUSE_SECONDS, prepare
from cryofs.vfs.surveys import Surveys

# Seconds to wait for background threads at the end; threads that hang end with the process.
_ENDING_SECONDS = 5.0
# Seconds to wait for the indexer to write the index; the index stays valid if the process ends earlier.
_LAST_SECONDS = 0.1
# Maximum number of damaged files in the figures of a mount; the log names all of them.
_MOST_NAMED = 20
# Slower reads are logged. A frame decodes in a fraction of a second, so the machine or its storage is overloaded.
_SLOW_SECONDS = 5.0
# Attempts to open a file that is replaced between lookup and open.
_OPEN_ATTEMPTS = 5

log = logging.getLogger("cryofs")


class FileSystem:
    """Read-only view of an archive that shows the original files.

    Parameters
    ----------
    archive : Path
        The archive's folder. It is opened once, and all files are accessed through its descriptor.
    ownership : Ownership
        Owner, group and permissions to report. Cached data do not depend on them.
    descriptor : int or None
        Descriptor of the archive's folder if it is already open.
    """

    def __init__(
        self, archive: Path, settings: Settings, ownership: Ownership = AS_ARCHIVED, descriptor: int | None = None
    ):
        self.archive = archive.absolute()
        self._settings = settings
        self._ownership = ownership
        self._root = root = Root(archive, descriptor)
        self._io = IoExecutor(settings.request_timeout)
        rendering = main_rendering(settings, self.archive, root.path)
        # names and attributes need no other thread on local disks, which return them without delay
        asked = [self.archive, rendering.gain or self.archive]
        self._of_names = self._io if any(map(may_be_remote, asked)) else InlineExecutor(self._io)
        self._tree = Tree(root, self._io, ShowOptions(rendering))
        self._findings = FindingsTable()
        index = index_path(self.archive)
        facts = self._tree.facts
        self._surveys = Surveys(root, self._io, facts, index)
        gains, limited = main_gains(settings), self._surveys.limited
        self._opener = Opener(root, self._io, self._tree.entries, self._findings, gains, limited)
        self._handles = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[int, tuple[str, OpenFile, Pages, Attributes]] = {}
        self._pages = PageKeeper()
        self._change_times = ChangeTimes()
        self._pool: ThreadPoolExecutor | None = None
        self._background: ThreadPoolExecutor | None = None
        self._cache: FrameCache | None = None
        self._stopping = threading.Event()
        self._preparing = threading.Thread(target=self._prepare, name="preparing", daemon=True)
        known = facts.surveyed(), facts.table_of, self._is_busy, facts.index_loaded
        self._indexer = Indexer(root, index, *known)
        self._started = time.time()
        self._last_asked = 0.0
        self._bytes_read = 0
        self._reads = 0

    def start(self, pools: Pools | None = None) -> None:
        """Start the threads, except those in `pools`; they load compiled code and index the archive."""
        self._pool, self._background = pools or Pools.started(self._settings.jobs)
        self._io.start(READING_THREADS)
        self._cache = FrameCache(self._settings.cache_size, self._background, self._io.run)
        self._opener.start(self._pool, self._cache)
        # users are likely to access the archive right after mounting it
        self._last_asked = time.monotonic()
        self._preparing.start()
        self._indexer.start()

    def look_again(self) -> None:
        """Index new files in the background; requests find new files without the index."""
        self._indexer.look_again()

    def stop(self) -> None:
        """Stop the threads, close all files, and empty the cache."""
        self._stopping.set()
        self._surveys.stop()
        self._indexer.stop(_ENDING_SECONDS)
        if self._preparing.is_alive():
            self._preparing.join(_ENDING_SECONDS)
        for pool in (self._background, self._pool):
            if pool is not None:
                # do not cancel decodes: closing a file waits for the decodes of its frames
                pool.shutdown()
        with self._lock:
            files = list(self._open.values())
            self._open.clear()
        for _, file, _, _ in files:
            file.close()
        self._io.end()
        # a thread that still runs may use the descriptor, so its number must not be reused for another file
        if not (self._preparing.is_alive() or self._indexer.is_alive()):
            self._root.close()

    def abandon(self) -> None:
        """Stop only the indexer, for a process that ends immediately afterwards."""
        self._indexer.stop(_LAST_SECONDS)

    def attributes(self, path: str) -> Attributes:
        """Return the attributes of a path of the mount."""
        self._last_asked = time.monotonic()
        node = self._lookup(path)
        if not node.has_size and self._surveys.complete(node):
            node = self._lookup(path)
        with self._lock:
            self._pages.record_lookup(path, node.attributes.size if node.has_size else None)
            found = self._change_times.by_name(path, node)
        return found.owned(self._ownership)

    def open_attributes(self, handle: int) -> Attributes:
        """Return the attributes of an open file, even if its name has been reused."""
        with self._lock:
            path, file, _, found = self._open[handle]
        now = self._of_names.run(self._name_for_attributes(path), lambda: file.attributes(found))
        with self._lock:
            self._pages.record_lookup(path, now.size)
            now = self._change_times.of_open(handle, now)
        return now.owned(self._ownership)

    def listing(self, path: str) -> Listing:
        """Return a listing of a folder, whose entries `listed` returns."""
        return Listing(self._tree, path)

    def listed(self, listing: Listing, position: int) -> list[Listed]:
        """Return the next group of entries of a folder from a position on; empty at the end. See `Listing.group`."""
        self._last_asked = time.monotonic()
        name = self._root.name_of(self._tree.place(listing.path))
        group = self._of_names.run(name, lambda: listing.group(position))
        folder = listing.path.rstrip("/")
        with self._lock:
            return [self._reported(f"{folder}/{entry.name}", entry) for entry in group]

    def _reported(self, path: str, entry: Entry) -> Listed:
        """Return an entry for the kernel, and record its size for the page cache policy."""
        name, node, found, _, after = entry
        if node is None or not entry.is_complete:
            return Listed(name, found, False, after)
        self._pages.record_lookup(path, found.size)
        return Listed(name, self._change_times.by_name(path, node).owned(self._ownership), True, after)

    def read_link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        node = self._lookup(path)
        return self._of_names.run(self._name_of(node), lambda: self._root.read_link(node.path))

    def open(self, path: str) -> int:
        """Open a file; return a handle for `read` and `release`."""
        self._last_asked = time.monotonic()
        while True:
            try:
                with self._io.in_all():
                    node, file, found = self._looked_up_and_opened(path)
                break
            except UnsurveyedError as error:
                self._surveys.carry_out(self._lookup(path), error.state)
        with self._lock:
            lacks_size = self._pages.lacks_size(path)
        if lacks_size:
            file.close()
            # programs would mistake the placeholder for the size; the kernel repeats the lookup and the open
            raise ChangedError(f"{path}: file became readable after its lookup; retry")
        with self._lock:
            handle = next(self._handles)
            self._change_times.opened(handle, path, node, found)
            self._open[handle] = path, file, self._pages.opened(path, file.identity, found.size), found
        return handle

    def pages(self, handle: int) -> Pages:
        """Return the instruction to the kernel about its cached pages of a newly opened file."""
        with self._lock:
            return self._open[handle][2]

    def read(self, handle: int, size: int, offset: int, memory: NDArray[np.uint8] | None = None) -> Bytes:
        """Return `size` bytes of an open file at `offset`, fewer only at its end; they may be placed in `memory`."""
        began = self._last_asked = time.monotonic()
        # a single dictionary lookup needs no lock
        path, file, pages, _ = self._open[handle]
        if pages is Pages.DROP:
            with self._lock:
                self._pages.record_read(path, file.identity)
        try:
            data = file.read(size, offset, memory)
        except CryofsError as error:
            facts = _facts_of_read(path, file, offset, began)
            # a read may start in one frame and fail in the next
            error.facts = facts | {"frame": error.facts.get("frame", facts["frame"])}
            raise
        if time.monotonic() - began > _SLOW_SECONDS:
            facts = _facts_of_read(path, file, offset, began)
            place = path if facts["frame"] is None else f"{path}, frame {facts['frame']}"
            log.warning("%s: slow read of %d bytes", place, len(data), extra={"facts": facts})
        with self._lock:
            self._reads += 1
            self._bytes_read += len(data)
            if len(data) < size:
                self._pages.ended(path, offset + len(data))
        return data

    def release(self, handle: int) -> None:
        """Close an open file."""
        with self._lock:
            path, file, pages, _ = self._open.pop(handle)
            self._change_times.closed(handle)
            if pages is Pages.DROP:
                self._pages.record_read(path, file.identity)
            self._pages.closed(path, file.identity)
        file.close()

    def statistics(self) -> os.statvfs_result:
        """Return size and free space of the file system that holds the archive."""
        return self._of_names.run(str(self.archive), lambda: os.fstatvfs(self._root.descriptor))

    def facts(self) -> dict[str, Any]:
        """Return the figures of the mount: process, reads, decodes, cache hits and damage."""
        figures = vars(self._cache.figures()) if self._cache is not None else {}
        damaged = self._tree.facts.damaged()
        findings = self._findings.every()
        with self._lock:
            served = {"reads": self._reads, "bytes_read": self._bytes_read, "open_files": len(self._open)}
        return {
            "archive": str(self.archive),
            "pid": os.getpid(),
            "seconds": round(time.time() - self._started, 1),
            **served,
            **figures,
            "eer_damaged_frames": sum(len(found.damaged_frames) for found in findings),
            "eer_saturated_values": sum(found.saturated_values for found in findings),
            "damaged_files": len(damaged),
            "damaged": [printable(line) for line in damaged[:_MOST_NAMED]],
        }

    def file_facts(self, path: str) -> dict[str, Any] | None:
        """Return the rendering of an EER movie and the problems found in it, or None for other files."""
        node = self._lookup(path)
        return self._of_names.run(self._name_for_attributes(path), lambda: self._file_facts(node))

    def _file_facts(self, node: Node) -> dict[str, Any] | None:
        kind, name = node.kind, self._name_of(node)
        if not isinstance(kind, Provider) or not kind.has_details:
            return None
        try:
            metadata = self._tree.facts.readable(kind, node.path)
            findings = self._findings.of(state_of(self._root.lstat(node.path)), name)
            return {"source": node.path.name, **kind.details(metadata, node.view.options, name, findings)}
        except (CryofsError, OSError) as error:
            # copying extended attributes must not fail because of a problem that reading the file reports
            return {"source": node.path.name, "error": printable(str(error))}

    def _lookup(self, path: str) -> Node:
        """Return the node of a path."""
        return self._of_names.run(self._name_for_attributes(path), lambda: self._tree.lookup(path))

    def _name_for_attributes(self, path: str) -> str:
        """Return the wait key for attribute requests, separate from reads: stat may succeed while a read hangs."""
        return f"{self._root.name_of(self._tree.place(path))}, its attributes"

    def _looked_up_and_opened(self, path: str) -> tuple[Node, OpenFile, Attributes]:
        """Look up and open a path; return its node, the open file and its attributes."""
        attempts_left = _OPEN_ATTEMPTS
        while True:
            attempts_left -= 1
            node = self._lookup(path)
            # some file systems never return the same inode twice, so the last attempt does not compare inodes
            opened = functools.partial(self._opened, node, must_be_found=attempts_left > 0)
            try:
                file, found = self._io.run(self._name_of(node), opened, drop=lambda late: late[0].close())
            except ChangedError:
                if not attempts_left:
                    raise
            else:
                return node, file, found

    def _opened(self, node: Node, must_be_found: bool) -> tuple[OpenFile, Attributes]:
        """Open a node; return the file and its attributes. Raise ChangedError if the file differs from the lookup."""
        file = self._opener.open(node, must_be_found)
        return file, file.attributes(node.attributes)

    def _name_of(self, node: Node) -> str:
        """Return the name of a stored file for messages and wait keys, independent of the view."""
        return self._root.name_of(node.path)

    def _is_busy(self) -> bool:
        """Return True if a request arrived recently."""
        return time.monotonic() - self._last_asked < PAUSE_SECONDS

    def _prepare(self) -> None:
        prepare(self._is_busy, self._stopping, lambda: self._opener.prepare(self._tree.options))


def _facts_of_read(path: str, file: OpenFile, offset: int, began: float) -> dict[str, Any]:
    """Return the log fields of a slow or failed read."""
    frame = file.frame_at(offset) if isinstance(file, MovieFile) else None
    return {"file": path, "frame": frame, "seconds": round(time.monotonic() - began, 3)}
