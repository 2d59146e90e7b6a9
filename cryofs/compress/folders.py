"""The folders of an archive while a run writes into them: made, writable, and without what killed runs left."""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage import atomic_file


class Folders:
    """Folders of the archive at `root`, for as long as the context lasts; `sources` are folders that are read."""

    def __init__(self, root: Path, sources: Iterable[Path]):
        self._root = root
        self._sources = {_identity(path) for path in sources}
        self._modes: dict[Path, int] = {}

    def __enter__(self) -> "Folders":
        return self

    def __exit__(self, *_: object) -> None:
        for folder, mode in self._modes.items():
            with contextlib.suppress(OSError):
                folder.chmod(mode)

    def make(self, below: Path) -> None:
        """Make a folder, and whatever else it takes to write into it.

        Raises
        ------
        ArchiveError
            Something else has its name, or it is a source.
        """
        folder = atomic_file.make_folders(self._root, below)
        if _identity(folder) in self._sources:
            raise ArchiveError(f"{folder}: is a source and would be written into; name another archive with -o")
        # the root's mode is its owner's own wish
        if below != Path() and not os.access(folder, os.W_OK | os.X_OK):
            # an earlier run gave it the mode of its original; files will tell where that cannot be changed
            mode = stat.S_IMODE(folder.stat().st_mode)
            with contextlib.suppress(OSError):
                folder.chmod(mode | stat.S_IRWXU)
                self._modes[folder] = mode
        atomic_file.remove_stale_drafts(folder)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
