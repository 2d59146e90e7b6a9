"""Handles of the plain files of a writable mount."""

import errno
import os
from concurrent.futures import Future
from dataclasses import dataclass

from cryofs.formats.archive_names import has_archived_form
from cryofs.storage import changes
from cryofs.system import deadlines, late_calls
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.live_files import LiveFile
from cryofs.vfs.open_files import PlainFile
from cryofs.vfs.page_cache_policy import Pages


@dataclass(eq=False)
class Handle:
    """A handle of a plain file.

    Attributes
    ----------
    found : Attributes
        Attributes at opening, whose inode number stays that of the file.
    writer : int or None
        Descriptor of this handle alone, so that errors of late writes are reported to it; None for a reader.
    is_dirty : bool
        Whether bytes were written since they were last made durable.
    not_begun : int
        Bytes written since the writeback of the file last began.
    is_queued : bool
        Whether its writeback is about to begin.
    """

    live: LiveFile
    found: Attributes
    pages: Pages
    writer: int | None = None
    is_dirty: bool = False
    not_begun: int = 0
    is_queued: bool = False
    _late: Future[None] | None = None

    def sync(self) -> None:
        """Make what was written durable, if the handle may write.

        Raises
        ------
        StuckError
            The request has reached its deadline; the sync goes on, and its error is that of the next one.
        OSError
            The sync failed.
        """
        if (writer := self.writer) is None:
            return
        # bytes that are written meanwhile need another sync
        self.is_dirty = False
        try:
            if self._late is not None:
                self._ended(self._late)
            if deadlines.seconds_left() is None:
                changes.disk.sync(writer)
            else:
                self._late = late_calls.begin(lambda: changes.disk.sync(writer))
                self._ended(self._late)
        except BaseException:
            self.is_dirty = True
            raise

    def close_writer(self) -> None:
        """Close the descriptor, once no sync uses it."""
        if (writer := self.writer) is not None:
            if self._late is None:
                os.close(writer)
            else:
                self._late.add_done_callback(lambda _: os.close(writer))

    def _ended(self, late: Future[None]) -> None:
        try:
            late_calls.result_in_time(late, "the sync of a file")
        finally:
            if late.done():
                self._late = None

    @property
    def is_movie(self) -> bool:
        """True if the file may become an archived movie."""
        return self.live.place is not None and has_archived_form(self.live.place.name)


def open_writer(live: LiveFile) -> int:
    """Return a new descriptor of a plain file, which may have no name any more, for reading and writing."""
    file = live.file
    if not isinstance(file, PlainFile):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    return changes.disk.open_again(file.descriptor)


def write_all(writer: int, data: memoryview, offset: int) -> int:
    """Write bytes at an offset; return how many, fewer if an error prevented the rest."""
    done = changes.disk.write(writer, data, offset)
    while 0 < done < len(data):
        try:
            done += changes.disk.write(writer, data[done:], offset + done)
        except OSError:
            break  # the next write returns the error
    return done
