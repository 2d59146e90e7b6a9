"""The file system: lookups, listings, open files by handle. It knows nothing of FUSE and may be used without it.

Threads: any thread may call anything after `start`, which must come after daemonising, because threads do not survive a
fork. The lock guards the tables of open files and of findings, and the counts of reads.
"""

import functools
import importlib
import itertools
import logging
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryofs.cache.frame_cache import FrameCache
from cryofs.codecs import registry
from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, CryofsError
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.provider import FolderProvider, OpenContext, Provider, ShowOptions
from cryofs.storage.file_state import state_of
from cryofs.system.mount_table import is_far, mount_of, mount_table
from cryofs.system.thread_pools import started_pool
from cryofs.text import printable
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import AS_ARCHIVED, Attributes, Ownership
from cryofs.vfs.change_times import ChangeTimes
from cryofs.vfs.findings import FindingsTable
from cryofs.vfs.index_db import index_path
from cryofs.vfs.indexer import Surveyor
from cryofs.vfs.io_executor import InlineExecutor, IoExecutor
from cryofs.vfs.main_view import rendering_of
from cryofs.vfs.namespace import Tree
from cryofs.vfs.nodes import Node
from cryofs.vfs.open_files import Bytes, MovieFile, OpenFile, PlainFile
from cryofs.vfs.page_cache_policy import PageKeeper, Pages

# After so long without a request there is a pause, for what is done in the background.
_PAUSE_SECONDS = 0.05
_LONGEST_PUT_OFF = 5.0
# Threads that read storage without anybody's waiting are given so long to end; what hangs ends with the process.
_ENDING_SECONDS = 5.0
# The surveyor has so long to keep what it learned in the index; whatever ends it later leaves the index valid.
_LAST_SECONDS = 0.1
# So many damaged files are named in the facts of a mount; the log names all.
_MOST_TOLD = 20
# A read that takes longer is logged: a frame decodes in a fraction of a second, so something is overloaded or ill.
_SLOW_SECONDS = 5.0
# A file that is replaced between lookup and open is looked up again.
_OPEN_ATTEMPTS = 5

log = logging.getLogger("cryofs")


class FileSystem:
    """An archive, shown as its originals, read-only.

    Parameters
    ----------
    archive : Path
        The archive's folder; opened here and reached through this descriptor from then on.
    ownership : Ownership
        Whose the files appear to be. Nothing that is kept depends on it.
    """

    def __init__(self, archive: Path, settings: Settings, ownership: Ownership = AS_ARCHIVED):
        self.archive = archive.absolute()
        self._settings = settings
        self._ownership = ownership
        self._root = root = Root(archive)
        self._io = IoExecutor(settings.request_timeout)
        rendering = rendering_of(settings, self.archive, root.path)
        # names and attributes: the machine's own disks give them from memory, or at once
        asked = [self.archive, rendering.gain or self.archive]
        self._of_names = self._io if any(map(_is_far, asked)) else InlineExecutor(self._io)
        self._tree = Tree(root, self._io, ShowOptions(rendering))
        self._gains = GainLibrary(root.path)
        self._eer_gains = EerGains()
        self._findings = FindingsTable()
        self._handles = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[int, tuple[str, OpenFile, Pages, Attributes]] = {}
        self._pages = PageKeeper()
        self._change_times = ChangeTimes()
        self._pool: ThreadPoolExecutor | None = None
        self._background: ThreadPoolExecutor | None = None
        self._cache: FrameCache | None = None
        self._preparing = threading.Thread(target=self._prepare, name="preparing", daemon=True)
        facts = self._tree.facts
        index = index_path(self.archive)
        self._surveyor = Surveyor(root, index, facts.surveyed(), facts.table_of, self._is_asked)
        self._started = time.time()
        self._last_asked = 0.0
        self._bytes_read = 0
        self._reads = 0

    def start(self) -> None:
        """Start the threads; they load what readers should not have to wait for, and look at the archive."""
        self._pool = started_pool(self._settings.jobs, "decode")
        self._background = started_pool(self._settings.jobs, "read-ahead")
        self._cache = FrameCache(self._settings.cache_size, self._background, self._io.run)
        # whoever had it mounted may have something to ask
        self._last_asked = time.monotonic()
        self._preparing.start()
        self._surveyor.start()

    def look_again(self) -> None:
        """Look at the whole archive again, in the background; new files are found without that, when asked for."""
        self._surveyor.look_again()

    def stop(self) -> None:
        """Stop the threads and release everything."""
        self._surveyor.stop(_ENDING_SECONDS)
        if self._preparing.is_alive():
            self._preparing.join(_ENDING_SECONDS)
        for pool in (self._background, self._pool):
            if pool is not None:
                # nothing is cancelled: closing a file waits for what was begun for it
                pool.shutdown()
        with self._lock:
            files = list(self._open.values())
            self._open.clear()
        for _, file, _, _ in files:
            file.close()
        self._io.end()
        self._root.close()

    def abandon(self) -> None:
        """Stop for good in a process that ends at once, which releases everything else."""
        self._surveyor.stop(_LAST_SECONDS)

    def attributes(self, path: str) -> Attributes:
        """Attributes of a name."""
        self._last_asked = time.monotonic()
        node = self._lookup(path)
        with self._lock:
            self._pages.told(path, node.attributes.size if node.has_size else None)
            found = self._change_times.by_name(path, node)
        return found.owned(self._ownership)

    def inode(self, path: str) -> int:
        """Return the inode number of a name."""
        return self._lookup(path).attributes.inode

    def open_attributes(self, handle: int) -> Attributes:
        """Attributes of an open file, whatever has its name by now."""
        with self._lock:
            path, file, _, found = self._open[handle]
        now = self._of_names.run(self._name_for_attributes(path), lambda: file.attributes(found))
        with self._lock:
            self._pages.told(path, now.size)
            now = self._change_times.of_open(handle, now)
        return now.owned(self._ownership)

    def names(self, path: str) -> list[tuple[str, Attributes]]:
        """Names in a folder, with attributes of which type and inode are right.

        Movies that are still unknown when too much time has passed are listed like damaged ones.
        """
        self._last_asked = time.monotonic()
        return self._of_names.run(self._root.name_of(self._tree.place(path)), lambda: self._tree.names(path))

    def read_link(self, path: str) -> str:
        """Where a symbolic link points."""
        node = self._lookup(path)
        return self._of_names.run(self._name_of(node), lambda: self._root.read_link(node.path))

    def open(self, path: str) -> int:
        """Open a file; the handle is for `read` and `release`."""
        self._last_asked = time.monotonic()
        with self._io.in_all():
            node, file, found = self._looked_up_and_opened(path)
        with self._lock:
            lacks_size = self._pages.lacks_size(path)
        if lacks_size:
            file.close()
            # programs would take the placeholder for the size; the kernel looks the name up again, then opens it again
            raise ChangedError(f"{path}: readable again since it was looked up; open it again")
        with self._lock:
            handle = next(self._handles)
            self._change_times.opened(handle, path, node, found)
            self._open[handle] = path, file, self._pages.opened(path, file.identity, found.size), found
        return handle

    def pages(self, handle: int) -> Pages:
        """What the kernel is to do with the pages that it has of a file just opened."""
        with self._lock:
            return self._open[handle][2]

    def read(self, handle: int, size: int, offset: int) -> Bytes:
        """`size` bytes of an open file at `offset`, fewer only where the file ends."""
        began = self._last_asked = time.monotonic()
        # a single look-up in a dictionary needs no lock
        path, file, pages, _ = self._open[handle]
        if pages is Pages.DROP:
            with self._lock:
                self._pages.heard_of(path, file.identity)
        try:
            data = file.read(size, offset)
        except CryofsError as error:
            facts = _facts_of_read(path, file, offset, began)
            # a read may begin in one frame, and fail in the next
            error.facts = facts | {"frame": error.facts.get("frame", facts["frame"])}
            raise
        if time.monotonic() - began > _SLOW_SECONDS:
            facts = _facts_of_read(path, file, offset, began)
            place = path if facts["frame"] is None else f"{path}, frame {facts['frame']}"
            log.warning("%s: a slow read of %d bytes", place, len(data), extra={"facts": facts})
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
                self._pages.heard_of(path, file.identity)
            self._pages.closed(path, file.identity)
        file.close()

    def statistics(self) -> os.statvfs_result:
        """Size and room of the file system that holds the archive."""
        return self._of_names.run(str(self.archive), lambda: os.fstatvfs(self._root.descriptor))

    def facts(self) -> dict[str, Any]:
        """Who serves this mount, and what was read, decoded and found in the cache."""
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
            "damaged": [printable(line) for line in damaged[:_MOST_TOLD]],
        }

    def file_facts(self, path: str) -> dict[str, Any] | None:
        """Return how a movie is shown and the problems found so far; None for files without such details."""
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
            # programs that copy extended attributes must not fail on what only reading the file has to report
            return {"source": node.path.name, "error": printable(str(error))}

    def _lookup(self, path: str) -> Node:
        """What a path stands for."""
        return self._of_names.run(self._name_for_attributes(path), lambda: self._tree.lookup(path))

    def _name_for_attributes(self, path: str) -> str:
        """What those wait for who ask for attributes: a file that hangs while it is read may well tell these."""
        return f"{self._root.name_of(self._tree.place(path))}, its attributes"

    def _looked_up_and_opened(self, path: str) -> tuple[Node, OpenFile, Attributes]:
        """Open the file that a path stands for, such that its attributes are of the very file that is open."""
        attempts_left = _OPEN_ATTEMPTS
        while True:
            attempts_left -= 1
            node = self._lookup(path)
            # storage whose inodes are never the same is taken as it is
            opened = functools.partial(self._opened, node, must_be_found=attempts_left > 0)
            try:
                file, found = self._io.run(self._name_of(node), opened, drop=lambda late: late[0].close())
            except ChangedError:
                if not attempts_left:
                    raise
            else:
                return node, file, found

    def _opened(self, node: Node, must_be_found: bool) -> tuple[OpenFile, Attributes]:
        """A file just opened, with its attributes; ChangedError if it must be the file found, and is another."""
        file = self._open_node(node, must_be_found)
        return file, file.attributes(node.attributes)

    def _open_node(self, node: Node, must_be_found: bool) -> OpenFile:
        if stat.S_ISDIR(node.attributes.mode):
            raise IsADirectoryError(node.path.name)
        context = OpenContext(
            self._gains,
            self._eer_gains,
            self._pool,
            node.view.options,
            self._tree.facts.index,
            lambda source: self._findings.of(source.identity, source.name),
        )
        if isinstance(node.kind, FolderProvider):
            metadata = self._tree.entries.first(node.kind.made_of, node.path.parent)
            if metadata is None:
                raise FileNotFoundError(node.path.name)
            return self._movie_file(node.kind.open(metadata, context))
        source = self._root.open(node.path)
        try:
            if must_be_found and node.stored and not os.path.samestat(source.stat, node.stored):
                raise ChangedError(f"{self._name_of(node)}: replaced while it was being opened; open it again")
            if node.kind is None:
                return PlainFile(source, self._io, is_made=node.is_elsewhere)
            return self._movie_file(node.kind.open(node.path, source, context))
        except BaseException:
            source.close()
            raise

    def _movie_file(self, movie: Movie) -> MovieFile:
        if self._cache is None:
            raise RuntimeError("the file system was not started")
        return MovieFile(movie, self._cache, self._io)

    def _name_of(self, node: Node) -> str:
        """The one name of a file of the archive, in messages and for those who wait for it, whatever is made of it."""
        return self._root.name_of(node.path)

    def _is_asked(self) -> bool:
        """Whether somebody has just asked for something, and will again."""
        return time.monotonic() - self._last_asked < _PAUSE_SECONDS

    def _prepare(self) -> None:
        """Load compiled code, which takes half a second and 100 MB, and the gain reference of most movies.

        Whoever asks for something meanwhile would wait for the interpreter, so this begins in a pause.
        """
        until = time.monotonic() + _LONGEST_PUT_OFF
        while self._is_asked() and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS)
        registry.load_compiled()
        importlib.import_module("cryofs.kernels.eer_events").load()
        self._gains.preload(self._root.path)


def _is_far(path: Path) -> bool:
    mount = mount_of(Path(os.path.realpath(path)), mount_table())
    return mount is None or is_far(mount.kind)


def _facts_of_read(path: str, file: OpenFile, offset: int, began: float) -> dict[str, Any]:
    """What the log tells of a read that is slow or fails."""
    frame = file.frame_at(offset) if isinstance(file, MovieFile) else None
    return {"file": path, "frame": frame, "seconds": round(time.monotonic() - began, 3)}
