"""The file system of a writable mount: files are written as plain files of the archive, under their own names.

Threads: safe to call from any thread after `start`. A call that opens a file or changes a name locks that name
(`cryofs.vfs.name_locks`); the lock of the file system guards the table of handles. Writes have no time limit, because a
write that was given up could overtake a later one.
"""

import errno
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.config.settings import Settings
from cryofs.movies.provider import Provider
from cryofs.storage import changes
from cryofs.storage.byte_source import LocalFile
from cryofs.system.thread_pools import Pools
from cryofs.text import first_lines
from cryofs.vfs.attribute_changes import AttributeChanges, set_open
from cryofs.vfs.attributes import AS_ARCHIVED, Attributes
from cryofs.vfs.callers import Caller
from cryofs.vfs.changing import ArchivedMovies, AttributeChange, MakeArchivedMovies, MountParts, ReadOnlyMovies
from cryofs.vfs.early_writeback import EarlyWriteback
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.folder_times import FolderTimes
from cryofs.vfs.handles import Handle, open_writer, write_all
from cryofs.vfs.known_pages import KnownPages
from cryofs.vfs.listing import Listed, Listing
from cryofs.vfs.live_files import LiveFile, LiveFiles
from cryofs.vfs.mount_users import users_of_step
from cryofs.vfs.name_changes import NameChanges, is_archived, read_only
from cryofs.vfs.name_locks import NameLocks
from cryofs.vfs.nodes import Node, plain_node
from cryofs.vfs.open_files import Bytes, OpenFile, PlainFile
from cryofs.vfs.page_cache_policy import Pages
from cryofs.vfs.room import Room


class WritableFileSystem(FileSystem):
    """An archive, shown as its originals, that programs can change.

    Parameters
    ----------
    archive, settings, descriptor
        As those of `FileSystem`.
    make_archived : callable or None
        Returns what changes archived movies; None if they are read-only.

    Attributes
    ----------
    archived, names, attribute_changes : ArchivedMovies, NameChanges, AttributeChanges
        Changes of archived movies and ingestion of plain ones; changes of names; changes of attributes.
    """

    def __init__(
        self,
        archive: Path,
        settings: Settings,
        descriptor: int | None = None,
        make_archived: MakeArchivedMovies | None = None,
    ):
        super().__init__(archive, settings, AS_ARCHIVED, descriptor)
        self._live = LiveFiles()
        self._locks = NameLocks()
        self._room = Room(self._root.descriptor, settings.reserve, self._live.written)
        users = functools.partial(users_of_step, self._tree, self._live, self._opener)
        times = FolderTimes(self._root)
        parts = MountParts(self.archive, self._root, self._tree, self._live, self._locks, users, self._room, times)
        self.archived: ArchivedMovies = make_archived(parts) if make_archived is not None else ReadOnlyMovies()
        self.names = NameChanges(parts, self.archived, self._forget)
        self.attribute_changes = AttributeChanges(parts, self.archived, self.names)
        self._is_durable = settings.close == "durable"
        self._writeback = EarlyWriteback()
        self._written: dict[int, Handle] = {}
        self._known = KnownPages()

    def start(self, pools: Pools | None = None) -> None:
        """Start the threads."""
        super().start(pools)
        self.names.leaving.start()
        self._writeback.start()

    def stop(self) -> None:
        """Stop the threads, and close all files."""
        self.names.leaving.stop()
        self.archived.stop()
        for handle in list(self._written):
            self.release(handle)
        self._writeback.stop()
        super().stop()

    def abandon(self) -> None:
        """End what must not be left unfinished, because the process ends immediately."""
        self.names.leaving.stop()
        self.archived.stop()
        super().abandon()

    def attributes(self, path: str) -> Attributes:
        """Return the attributes of a path, or of an open file that libfuse has hidden."""
        if hidden := self.names.hidden.find(path):
            live, found = hidden
            return found if live is None else live.attributes(found)
        self.names.leaving.settle(self._tree.place(path))
        return super().attributes(path)

    def open_attributes(self, handle: int) -> Attributes:
        """Return the attributes of an open file."""
        if (opened := self._written.get(handle)) is None:
            return super().open_attributes(handle)
        return opened.live.attributes(opened.found)

    def listed(self, listing: Listing, position: int) -> list[Listed]:
        """Return entries of a folder, without those that are about to be removed."""
        self.names.leaving.settle_in(self._tree.place(listing.path))
        return super().listed(listing, position)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open a file with the flags of open(2); return a handle."""
        is_written = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        # a file that lost its name since the kernel looked it up
        if hidden := self.names.hidden.acquire(path):
            return self._opened_plain(*hidden, flags, is_written=is_written)
        place = self._tree.place(path)
        self.names.leaving.settle(place)
        while True:
            with self._locks.changing(place) if is_written else self._locks.locked(place):
                node = self._lookup(path)
                if node.view.name == "" and node.is_plain and node.attributes.is_file:
                    return self._open_plain(node, place, flags, is_written=is_written)
                if not is_written:
                    return super().open(path)
            if node.view.name or not is_archived(node, place):
                raise read_only(path)
            # another thread may have it archived again in the meantime
            self.archived.thaw(place, empty=bool(flags & os.O_TRUNC))

    def create(self, path: str, mode: int, flags: int, caller: Caller) -> int:
        """Create a file and open it, or open the existing one unless `flags` contain O_EXCL."""
        place = self.names.place(path)
        self.names.leaving.settle(place)
        with self._locks.changing(place):
            node = self._tree.found(path)
            if node is None:
                self._room.check()
                return self._create(path, place, mode, caller)
        if flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return self.open(path, flags)

    def pages(self, handle: int) -> Pages:
        """Return the instruction to the kernel for its cached pages of a newly opened file."""
        opened = self._written.get(handle)
        return super().pages(handle) if opened is None else opened.pages

    def read(self, handle: int, size: int, offset: int, memory: NDArray[np.uint8] | None = None) -> Bytes:
        """Return bytes of an open file."""
        opened = self._written.get(handle)
        return super().read(handle, size, offset, memory) if opened is None else opened.live.read(size, offset, memory)

    def write(self, handle: int, data: memoryview, offset: int, *, is_late: bool = False) -> int:
        """Write bytes at an offset; return how many, fewer if an error prevented the rest.

        Parameters
        ----------
        is_late : bool
            Whether a program wrote the bytes to a map, so that no call of it could return an error.
        """
        opened, writer = self._writer(handle)
        if not is_late:
            self._room.take(writer, offset, len(data), is_movie=opened.is_movie)
        opened.is_dirty = True
        done = write_all(writer, data, offset)
        self._writeback.written(opened, done)
        return done

    def set_size(self, path: str, size: int, handle: int | None) -> None:
        """Cut or extend a file, by an open handle if there is one."""
        opened = None if handle is None else self._written.get(handle)
        if opened is not None and opened.writer is not None:
            opened.is_dirty = True
            self._set_size(opened.writer, size)
            return
        made = self.open(path, os.O_WRONLY | (0 if size else os.O_TRUNC))
        try:
            if size:
                self._set_size(self._writer(made)[1], size)
        finally:
            self.release(made)

    def _set_size(self, writer: int, size: int) -> None:
        if size > os.fstat(writer).st_size:
            self._room.check()
        changes.disk.set_size(writer, size)

    def set_attributes(self, path: str, change: AttributeChange, handle: int | None) -> None:
        """Set mode, owner or times of a file, by an open handle if there is one."""
        opened = None if handle is None else self._written.get(handle)
        if opened is None or opened.live.place is not None:
            self.attribute_changes.set(path, change)
        else:
            set_open(opened.live.file, change)

    def allocate(self, handle: int, mode: int, offset: int, size: int) -> None:
        """Allocate, clear or remove bytes, as fallocate(2) does."""
        opened, writer = self._writer(handle)
        self._room.take_allocated(writer, mode, offset, size, is_movie=opened.is_movie)
        opened.is_dirty = True
        changes.disk.allocate(writer, mode, offset, size)

    def sync(self, handle: int) -> None:
        """Make a file, and its name if it is new, durable."""
        opened = self._written.get(handle)
        if opened is None or opened.writer is None:
            self._sync_read(self._open[handle][1] if opened is None else opened.live)
        else:
            opened.sync()
        if opened is None:
            return
        place = opened.live.place
        if opened.live.has_new_name and place is not None:
            self.names.sync_place(place.parent)
            opened.live.has_new_name = False

    def _sync_read(self, live: OpenFile) -> None:
        """Make durable what others have changed of a file that is open for reading."""
        if not isinstance(live, LiveFile):
            return
        if isinstance(file := live.file, PlainFile):
            changes.disk.sync(file.descriptor)
        elif live.place is not None:
            self.archived.sync(live.place)

    def flush(self, handle: int) -> None:
        """Make what a handle has written durable if closing files does; called at each close of a copy of it."""
        opened = self._written.get(handle)
        if opened is not None and opened.is_dirty and self._is_durable:
            self.sync(handle)

    def release(self, handle: int) -> None:
        """Close a handle."""
        with self._lock:
            opened = self._written.get(handle)
        if opened is None:
            super().release(handle)
            return
        try:
            # pages of a map may have come after the last flush
            self.flush(handle)
        finally:
            self._close(handle, opened)

    def facts(self) -> dict[str, Any]:
        """Return the figures of this mount."""
        facts = super().facts()
        with self._lock:
            open_files = facts["open_files"] + len(self._written)
            writers = sum(opened.writer is not None for opened in self._written.values())
        names = first_lines("/".join(self._root.below(place)) for place in self._live.written())
        served = {"open_files": open_files, "open_for_writing": writers, "names_open_for_writing": names}
        return {**facts, **served, **self._room.facts(), "writable": True, "ingest": self.archived.facts()}

    def statistics(self) -> os.statvfs_result:
        """Return size and free space of the file system of the archive, without the reserve."""
        found = super().statistics()
        return self._of_names.run(str(self.archive), lambda: self._room.without_reserve(found))

    def _create(self, path: str, place: Path, mode: int, caller: Caller) -> int:
        writer = self.names.create(path, mode, caller)
        try:
            node = self._tree.as_shown(plain_node(self._root, place, os.fstat(writer), self._tree.main))
            source = LocalFile(os.dup(writer), self._root.name_of(place))
            live = self._live.opened(place, lambda: PlainFile(source, self._io))
        except BaseException:
            os.close(writer)
            raise
        live.has_new_name = True
        # an empty file is durable only after its name
        return self._added(Handle(live, node.attributes, Pages.DROP, writer, is_dirty=True))

    def _open_plain(self, node: Node, place: Path, flags: int, *, is_written: bool) -> int:
        """Open a plain file; its name is locked."""
        if is_written:
            self.names.drop_checksum(place)
        open_it = functools.partial(self._opener.open, node, must_be_found=False)
        opened = functools.partial(self._io.run, self._name_of(node), open_it, drop=lambda late: late.close())
        live = self._live.opened(place, opened)
        return self._opened_plain(live, node.attributes, flags, is_written=is_written)

    def _opened_plain(self, live: LiveFile, found: Attributes, flags: int, *, is_written: bool) -> int:
        """Return a handle of an open file, which counts as one of its handles."""
        writer: int | None = None
        try:
            if is_written:
                writer = open_writer(live)
                if flags & os.O_TRUNC:
                    changes.disk.set_size(writer, 0)
            pages = self._known.of(live)
        except BaseException:
            if writer is not None:
                os.close(writer)
            live.close()
            raise
        return self._added(Handle(live, found, pages, writer, is_dirty=bool(flags & os.O_TRUNC)))

    def _added(self, opened: Handle) -> int:
        with self._lock:
            handle = next(self._handles)
            self._written[handle] = opened
            if opened.writer is not None:
                opened.live.writers += 1
        return handle

    def _close(self, handle: int, opened: Handle) -> None:
        live = opened.live
        with self._lock:
            del self._written[handle]
            if opened.writer is not None:
                live.writers -= 1
        self._known.closed(live)
        place = live.place
        opened.close_writer()
        live.close()
        if opened.writer is not None and place is not None and not live.writers:
            self.archived.plain_closed(place)

    def _writer(self, handle: int) -> tuple[Handle, int]:
        opened = self._written.get(handle)
        if opened is None or opened.writer is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return opened, opened.writer

    def _opened(self, node: Node, must_be_found: bool) -> tuple[OpenFile, Attributes]:
        """Open a node; archived movies of the main view are shared, so that they can become plain files."""
        kind = node.kind
        shown = kind.shown_name(node.path.name) if isinstance(kind, Provider) and kind.replaces_stored else None
        if shown is None or node.view.name:
            return super()._opened(node, must_be_found)
        live = self._live.opened(node.path.with_name(shown), lambda: self._opener.open(node, must_be_found))
        return live, live.attributes(node.attributes)

    def _forget(self, path: str) -> None:
        with self._lock:
            self._pages.forget(path)
