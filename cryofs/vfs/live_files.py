"""Open files of a writable mount: one for each name, shared by all its handles, whatever stores its bytes.

A file keeps its handles when it is renamed, removed, or replaced by its other form: a plain file by its archived movie
or the other way round (`LiveFile.switch`). Both forms have the same bytes, so no reader sees the difference.

Threads: safe to call from any thread; the locks guard tables and counts, never a read. Callers lock the name
(`cryofs.vfs.name_locks`) while they open, move or switch a file.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cryofs.vfs.attributes import Attributes
from cryofs.vfs.open_files import Bytes, OpenFile


class _Backing:
    """What stores the bytes of a file, and how many reads use it; closed after the last read once it was replaced.

    Attributes
    ----------
    found : Attributes or None
        Attributes of the file when it became the backing; None for the first one, of which each handle knows them.
    """

    def __init__(self, file: OpenFile, found: Attributes | None = None):
        self.file = file
        self.found = found
        self.reads = 0
        self.is_retired = False


class LiveFile:
    """An open file of a name, an `OpenFile` whose bytes may move; `close` releases one handle.

    Attributes
    ----------
    place : Path or None
        Its place in the archive, under the name that readers see; None once it lost its name.
    writers : int
        Handles that may write.
    has_new_name : bool
        Whether it got its name since the folder was last synced by one of its handles.
    is_closed : bool
        Whether the last handle was released; set by `LiveFiles`.
    """

    def __init__(self, place: Path, file: OpenFile, on_last_close: "Callable[[LiveFile], None]"):
        self.place: Path | None = place
        self.writers = 0
        self.has_new_name = False
        self.is_closed = False
        self.identity = file.identity
        self._handles = 0
        self._on_last_close = on_last_close
        self._lock = threading.Lock()
        self._backing = _Backing(file)

    def acquire(self) -> None:
        """Count one more handle."""
        with self._lock:
            self._handles += 1

    def attributes(self, found: Attributes) -> Attributes:
        """Return the current attributes; `found` are those at opening, whose inode number stays."""
        backing = self._begin()
        if backing.found is not None:
            found = replace(backing.found, inode=found.inode)
        try:
            return backing.file.attributes(found)
        finally:
            self._end(backing)

    def read(self, size: int, offset: int, memory: NDArray[np.uint8] | None = None) -> Bytes:
        """Return bytes of the file, as its present form does."""
        backing = self._begin()
        try:
            return backing.file.read(size, offset, memory)
        finally:
            self._end(backing)

    def switch(self, file: OpenFile, found: Attributes) -> None:
        """Read from another file with the same bytes from now on; reads under way end in the old one."""
        with self._lock:
            old, self._backing = self._backing, _Backing(file, found)
            old.is_retired = True
            is_unused = not old.reads
        if is_unused:
            old.file.close()

    @property
    def file(self) -> OpenFile:
        """What stores the bytes now; valid while the name is locked."""
        return self._backing.file

    def close(self) -> None:
        """Release a handle; the last one closes the file."""
        with self._lock:
            self._handles -= 1
            is_last = not self._handles
        if is_last:
            self._on_last_close(self)

    def close_backing(self) -> None:
        """Close what stores the bytes, once no handle is left."""
        self._backing.file.close()

    @property
    def is_shared(self) -> bool:
        """True if the file has several handles."""
        return self._handles > 1

    @property
    def is_open(self) -> bool:
        """True if the file has a handle."""
        return self._handles > 0

    def _begin(self) -> _Backing:
        with self._lock:
            backing = self._backing
            backing.reads += 1
        return backing

    def _end(self, backing: _Backing) -> None:
        with self._lock:
            backing.reads -= 1
            is_unused = backing.is_retired and not backing.reads
        if is_unused:
            backing.file.close()


class LiveFiles:
    """The open files of a mount, by their place in the archive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[Path, LiveFile] = {}

    def find(self, place: Path) -> LiveFile | None:
        """Return the open file of a name, or None."""
        with self._lock:
            return self._files.get(place)

    def has_writer(self, place: Path) -> bool:
        """Return True if a handle may write to the file of a name."""
        live = self.find(place)
        return live is not None and live.writers > 0

    def written(self) -> list[Path]:
        """Return the places of files with a handle that may write; those that lost their names are left out."""
        with self._lock:
            return [place for place, live in self._files.items() if live.writers > 0]

    def opened(self, place: Path, make: Callable[[], OpenFile]) -> LiveFile:
        """Return the open file of a name with one handle more; `make` opens it if it is not open yet."""
        with self._lock:
            live = self._files.get(place)
            if live is not None:
                live.acquire()
                return live
        live = LiveFile(place, make(), self._closed)
        live.acquire()
        with self._lock:
            self._files[place] = live
        return live

    def moved(self, place: Path, target: Path) -> None:
        """Follow a rename of a file or folder; an open file that had the new name loses it."""
        with self._lock:
            self._forget(target)
            for old in self._at_or_below(place):
                live = self._files.pop(old)
                live.place = target.joinpath(*old.parts[len(place.parts) :])
                live.has_new_name = True
                self._files[live.place] = live

    def exchanged(self, place: Path, other: Path) -> None:
        """Follow an exchange of two names, of files or folders."""
        with self._lock:
            moved = [(self._files.pop(old), other, old, place) for old in self._at_or_below(place)]
            moved += [(self._files.pop(old), place, old, other) for old in self._at_or_below(other)]
            for live, new, old, top in moved:
                live.place = new.joinpath(*old.parts[len(top.parts) :])
                live.has_new_name = True
                self._files[live.place] = live

    def removed(self, place: Path) -> None:
        """Follow the removal of a name; its handles stay valid."""
        with self._lock:
            self._forget(place)

    def _forget(self, place: Path) -> None:
        live = self._files.pop(place, None)
        if live is not None:
            live.place = None

    def _at_or_below(self, place: Path) -> list[Path]:
        return [old for old in self._files if old.is_relative_to(place)]

    def _closed(self, live: LiveFile) -> None:
        with self._lock:
            # another thread may have opened it again in the meantime, and closed it
            if live.is_open or live.is_closed:
                return
            live.is_closed = True
            if live.place is not None and self._files.get(live.place) is live:
                del self._files[live.place]
        live.close_backing()
