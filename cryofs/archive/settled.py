"""Write files and folders of an archive to disk, and drop them from the page cache."""

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
    """Synchronization of the data on which a run relies.

    Each folder, checksum list and gain reference is synced once. Call `folder` after listing a folder, so that all
    names in the listing are durable. Threads may share an instance.

    Parameters
    ----------
    trusted : bool
        Whether to accept storage that does not support fsync.
    """

    def __init__(self, archive: Path, gains: GainLibrary, *, trusted: bool = False):
        self._archive = archive
        self._gains = gains
        self._trusted = trusted
        self._lock = threading.Lock()
        self._done: set[Path] = set()

    def folder(self, folder: Path) -> None:
        """Make the names in a folder durable; for the root of the archive, also the names in its parent folder."""
        self.path(folder, os.O_DIRECTORY)
        if folder == self._archive:
            # the user may lack permission to read the parent folder
            with contextlib.suppress(PermissionError):
                self.path(folder.parent, os.O_DIRECTORY)

    def beside(self, folder: Path) -> None:
        """Make the checksum list of a folder durable, and the gain references in this folder and above."""
        with self._lock:
            if folder in self._done:
                return
            for path in (folder / LIST_NAME, *self._gains.paths(folder)):
                if path not in self._done and path.is_file():
                    self.path(path)
                    self._done.add(path)
            self._done.add(folder)

    def path(self, path: Path, flags: int = 0) -> None:
        """Make a file or folder durable, and drop it from the page cache."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        try:
            self.file(descriptor, path)
        finally:
            os.close(descriptor)

    def file(self, descriptor: int, path: Path) -> None:
        """Make an open file durable, and drop it from the page cache, so that the next read comes from the disk.

        Pages that another program is reading or has mapped stay in the cache, and the storage device keeps its own
        caches. The sync has written all of these data before.

        Raises
        ------
        ArchiveError
            The storage does not support fsync and is not trusted.
        """
        try:
            changes.disk.sync(descriptor)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            if not self._trusted:
                text = f"{path}: storage does not support fsync, so the data may not be on disk"
                raise ArchiveError(f"{text}; pass --trust-storage to accept this storage") from error
        # ignored, because some storage has no page cache
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
