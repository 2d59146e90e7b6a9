"""Room for writers: a part of the archive's file system is kept free, so that an ingestion can always write its draft.

The reserve is the size of the largest movie that waits to be archived or is open for writing, and a margin. Writers are
slowed if less than twice the reserve is free and movies wait, and refused (ENOSPC) before less than the reserve is
free. Calls that free room, and writes to bytes that have their room already, are never refused.

Threads: safe to call from any thread. The lock is not held during system calls. Writers wait at most a second for each
request, and only a few at a time, because each occupies a thread that serves requests.
"""

import errno
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryofs.formats.archive_names import has_archived_form
from cryofs.text import size_text

# How long the free space that was found counts; bytes that were written since are subtracted.
_SECONDS_KNOWN = 0.25
# The margin: room for gain references, lists and journals.
_LARGEST_MARGIN = 1 << 30
_MARGIN_SHARE = 64
# A request of this size waits a second if no more than the reserve is left, smaller ones in proportion.
_SLOWED_BYTES = 1 << 20
_LONGEST_WAIT = 1.0
_MOST_SLOWED = 16
# A byte that is written to the largest movie takes itself, and adds itself to the reserve twice.
_SHARE_OF_SPARE = 3
_SECONDS_BETWEEN_NOTES = 60.0
_REFUSED = (
    "no room for writers: %s free, and %s are kept for archiving; remove files, or wait until more movies are archived"
)
_SLOWED = "writers are slowed: %s free, and %s are kept for archiving; remove files if they are slowed for long"
# Modes of fallocate(2) that free room: FALLOC_FL_PUNCH_HOLE and FALLOC_FL_COLLAPSE_RANGE.
_FREES = 0x02 | 0x08
# Bytes of a block of stat(2).
_BLOCK = 512

log = logging.getLogger("cryofs")


class Left(NamedTuple):
    """What is left on the file system.

    Attributes
    ----------
    free : int
        Free bytes for users without privileges.
    reserve : int
        Bytes that are kept free.
    largest : int
        Bytes of the largest movie that waits or is open for writing; 0 if there is none.
    waits : bool
        Whether a movie waits, so that an ingestion may free room.
    """

    free: int
    reserve: int
    largest: int
    waits: bool

    @property
    def is_scarce(self) -> bool:
        """True if less than twice the reserve is free."""
        return self.reserve > 0 and self.free < 2 * self.reserve


class Room:
    """Room on the file system of an archive.

    Parameters
    ----------
    descriptor : int
        Descriptor of the folder of the archive.
    reserve : int or None
        Bytes to keep free, 0 to refuse nothing; None to derive them from the movies.
    written : callable
        Returns the places of the files that are open for writing.
    """

    def __init__(self, descriptor: int, reserve: int | None, written: Callable[[], list[Path]]):
        self._descriptor = descriptor
        self._fixed = reserve
        self._written = written
        self._largest_waiting: Callable[[], int] = lambda: 0
        self._on_scarce: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._last = Left(0, 0, 0, waits=False)
        # what may be written without another look, and until when
        self._spare = 0
        self._known_until = 0.0
        self._slowed = 0
        # when each message was last logged
        self._noted: dict[str, float] = {}
        self.left()

    def watch(self, largest_waiting: Callable[[], int], on_scarce: Callable[[], None]) -> None:
        """Set who knows the movies that wait.

        Parameters
        ----------
        largest_waiting : callable
            Returns the bytes of the largest movie that waits.
        on_scarce : callable
            Called when a writer finds that room is scarce; returns at once.
        """
        self._largest_waiting, self._on_scarce = largest_waiting, on_scarce

    def left(self) -> Left:
        """Return what is left now."""
        found = os.fstatvfs(self._descriptor)
        sizes = [bytes_on_disk(place) or 0 for place in self._written() if has_archived_form(place.name)]
        waiting = self._largest_waiting()
        largest = max(waiting, *sizes, 0)
        reserve = self._fixed
        if reserve is None:
            reserve = largest + min(_LARGEST_MARGIN, found.f_blocks * found.f_frsize // _MARGIN_SHARE)
        left = Left(found.f_bavail * found.f_frsize, reserve, largest, waiting > 0)
        with self._changed:
            self._last = left
            self._spare = (left.free - 2 * reserve) // _SHARE_OF_SPARE
            self._known_until = time.monotonic() + _SECONDS_KNOWN
        return left

    def without_reserve(self, found: os.statvfs_result) -> os.statvfs_result:
        """Return the figures of the file system with what is left for writers as the available space."""
        left = self.left()
        available = max(left.free - left.reserve, 0) // found.f_frsize
        return os.statvfs_result((*found[:4], available, *found[5:]))

    def facts(self) -> dict[str, int]:
        """Return what was left when it was last determined, for the figures of the mount; takes no system call."""
        return {"room": max(self._last.free - self._last.reserve, 0), "reserve": self._last.reserve}

    def check(self) -> None:
        """Raise OSError (ENOSPC) if less than the reserve is free, for calls that need no bytes themselves."""
        if not self._is_spared(0):
            self._require(self.left())

    def check_file(self, size: int) -> None:
        """Raise OSError (ENOSPC) if there is no room for another movie of some bytes."""
        self._require(self._with(self.left(), size, size))

    def take(self, writer: int, offset: int, size: int, *, is_movie: bool) -> None:
        """Raise OSError (ENOSPC) if there is no room for a write; wait for a moment if room is scarce.

        Parameters
        ----------
        writer : int
            Descriptor of the file.
        is_movie : bool
            Whether the file may become an archived movie.
        """
        if self._is_spared(size):
            return
        found = os.fstat(writer)
        if _has_bytes(found, offset + size):
            return
        left = self._with(self.left(), size, found.st_blocks * _BLOCK + size if is_movie else 0)
        if left.is_scarce:
            self._on_scarce()
            self._require(left)
            self._slow_down(left, size)

    def take_allocated(self, writer: int, mode: int, offset: int, size: int, *, is_movie: bool) -> None:
        """Do as `take` for fallocate(2) with a mode."""
        if not mode & _FREES:
            self.take(writer, offset, size, is_movie=is_movie)

    def freed(self) -> None:
        """Note that there is more room; writers that wait go on."""
        with self._changed:
            self._known_until = 0.0
            self._changed.notify_all()

    def _is_spared(self, size: int) -> bool:
        """Return True if so many bytes can be written without another look, and subtract them."""
        with self._changed:
            if self._spare <= size or time.monotonic() > self._known_until:
                return False
            self._spare -= size
        return True

    def _with(self, left: Left, size: int, movie: int) -> Left:
        """Return what will be left once some bytes are written, by which a movie has a new size."""
        if self._fixed is not None:
            return left._replace(free=left.free - size)
        margin, largest = left.reserve - left.largest, max(left.largest, movie)
        return Left(left.free - size, largest + margin, largest, left.waits)

    def _require(self, left: Left) -> None:
        if left.is_scarce and left.free < left.reserve:
            self._on_scarce()
            self._note(_REFUSED, left)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _slow_down(self, left: Left, size: int) -> None:
        """Wait in proportion to the bytes of a request and to the lack of room, if a movie can free some."""
        if not left.waits:
            return
        self._note(_SLOWED, left)
        lack = (2 * left.reserve - left.free) / left.reserve
        with self._changed:
            if self._slowed < _MOST_SLOWED:
                self._slowed += 1
                self._changed.wait(_LONGEST_WAIT * lack * min(size / _SLOWED_BYTES, 1.0))
                self._slowed -= 1

    def _note(self, message: str, left: Left) -> None:
        with self._changed:
            now = time.monotonic()
            if now - self._noted.get(message, -math.inf) < _SECONDS_BETWEEN_NOTES:
                return
            self._noted[message] = now
        log.warning(message, size_text(max(left.free, 0)), size_text(left.reserve))


def bytes_on_disk(place: Path) -> int | None:
    """Return how many bytes of a file have room on the disk, None if it does not exist; holes have none."""
    try:
        found = os.lstat(place)
    except OSError:
        return None
    return min(found.st_size, found.st_blocks * _BLOCK)


def _has_bytes(found: os.stat_result, end: int) -> bool:
    """Return True if a file has all its bytes on the disk, up to an offset."""
    return end <= found.st_size <= found.st_blocks * _BLOCK
