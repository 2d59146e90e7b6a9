"""The archive on its disk: fsync for files and folders, and reads past the page cache."""

import contextlib
import errno
import os
import threading
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.movies.gain_library import GainLibrary
from cryofs.storage import changes
from cryofs.storage.checksum_lists import LIST_NAME

_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Settled:
    """Brings what a run relies on onto the disk, each folder, checksum list and gain reference once.

    A folder is brought onto the disk after it was listed, so the names that the run found in it stay. Threads may share
    an instance.

    Parameters
    ----------
    trusted : bool
        Whether storage that does not support fsync is accepted.
    """

    def __init__(self, archive: Path, gains: GainLibrary, *, trusted: bool = False):
        self._archive = archive
        self._gains = gains
        self._trusted = trusted
        self._lock = threading.Lock()
        self._done: set[Path] = set()

    def folder(self, folder: Path) -> None:
        """Make the names in a folder durable; of the root of the archive its own name, too."""
        self.path(folder, os.O_DIRECTORY)
        if folder == self._archive:
            # the folder above may belong to others, who let nobody list it
            with contextlib.suppress(PermissionError):
                self.path(folder.parent, os.O_DIRECTORY)

    def beside(self, folder: Path) -> None:
        """Make durable what the files of a folder need: its checksum list, the gain references from there upwards."""
        with self._lock:
            if folder in self._done:
                return
            for path in (folder / LIST_NAME, *self._gains.paths(folder)):
                if path not in self._done and path.is_file():
                    self.path(path)
                    self._done.add(path)
            self._done.add(folder)

    def path(self, path: Path, flags: int = 0) -> None:
        """Make a file or folder durable, and drop what the page cache holds of it."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        try:
            self.file(descriptor, path)
        finally:
            os.close(descriptor)

    def file(self, descriptor: int, path: Path) -> None:
        """Make an open file durable, and drop what the page cache holds of it: the next read comes from the disk.

        Pages that another program is reading at this moment, or has mapped, stay in the cache, and so do caches of the
        storage itself; all of them have been written by then.
        """
        try:
            changes.disk.sync(descriptor)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            if not self._trusted:
                text = f"{path}: its storage does not support fsync, so it may not be on the disk"
                raise ArchiveError(f"{text}; pass --trust-storage if you know that it is") from error
        # storage without a page cache has nothing to drop
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
