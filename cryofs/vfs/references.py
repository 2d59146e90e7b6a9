"""Gain references: in which folders of the mount the `gain-reference*.mrc` files of the archive appear.

In `@counts` they appear with the counts of gain-normalised movies. Beside TIFF movies of other programs only those
appear that came with such movies, not those that cryofs estimated or keeps for its own movies.

Threads: safe to call from any thread; the lock guards the cached facts.
"""

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryofs.errors import CryofsError
from cryofs.formats.archive_names import GAIN_REFERENCE, is_reference_name
from cryofs.movies.gain_library import is_estimated
from cryofs.storage.checksums import file_sha256
from cryofs.storage.file_state import FileState, state_of
from cryofs.vfs.archive_root import Root
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.metadata_cache import Known

_KNOWN_FILES = 1 << 10
# That no movie needs a reference holds for so long, and for so many times as long as finding it out took.
_FREE_SECONDS = 10.0
_FREE_TIMES = 100


class GainReferences:
    """The gain references of an archive.

    Parameters
    ----------
    needs_references : callable
        Returns True if a folder has movies that come with gain references.
    gain_of : callable
        Returns the SHA-256 of the gain reference that a file needs as an archived movie, or None.
    """

    def __init__(
        self,
        root: Root,
        io: IoExecutor,
        needs_references: Callable[[Path], bool],
        gain_of: Callable[[Path, os.stat_result], str | None],
    ):
        self._root = root
        self._needs_references = needs_references
        self._gain_of = gain_of
        self._estimated = Known(root, io, is_estimated, _KNOWN_FILES)
        self._sums = Known(root, io, file_sha256, _KNOWN_FILES)
        self._lock = threading.Lock()
        self._own: set[FileState] = set()
        self._free_until: dict[FileState, float] = {}

    def find(self, place: Path, counts: bool) -> tuple[Path, os.stat_result] | None:
        """Find the reference that appears at a place, the nearest one from its folder upwards."""
        if not is_reference_name(place.name) or not self._root.is_folder(place.parent):
            return None
        for folder in self._folders(place.parent, counts):
            if found := self._shown(folder / place.name, counts):
                return folder / place.name, found
        return None

    def nearest(self, folder: Path) -> Path | None:
        """Return the nearest reference, from a folder upwards, that appears beside TIFF movies of other programs."""
        below = folder.relative_to(self._root.path)
        places = (self._root.path / part / GAIN_REFERENCE for part in (below, *below.parents))
        return next((place for place in places if self._shown(place, counts=False)), None)

    def names(self, folder: Path, counts: bool) -> set[str]:
        """Return the names of the references that may appear in a folder."""
        return {name for place in self._folders(folder, counts) for name in self._in(place)}

    def _folders(self, folder: Path, counts: bool) -> list[Path]:
        """Return the folders whose references appear in a folder.

        Beside counts and TIFF movies of other programs, the references of the folder and all folders above appear. In
        the parent of a folder of such TIFF movies, where RELION puts references, only its own appear.
        """
        if counts or self._needs_references(folder):
            below = folder.relative_to(self._root.path)
            return [self._root.path / part for part in (below, *below.parents)]
        if self._in(folder):
            entries = self._root.entries(folder)
            if any(stat.S_ISDIR(found.st_mode) and self._needs_references(folder / name) for name, found in entries):
                return [folder]
        return []

    def _in(self, folder: Path) -> list[str]:
        """Return the names of the references in a folder; empty if it cannot be read."""
        try:
            return [name for name in self._root.names(folder) if is_reference_name(name)]
        except OSError:
            return []

    def _shown(self, path: Path, counts: bool) -> os.stat_result | None:
        try:
            found = self._root.lstat(path)
        except OSError:
            return None
        try:
            is_shown = stat.S_ISREG(found.st_mode) and (counts or not self._is_own(path, found))
        except (CryofsError, OSError):
            is_shown = True  # reading it returns the error
        return found if is_shown else None

    def _is_own(self, path: Path, found: os.stat_result) -> bool:
        """Return True if cryofs estimated a reference, or a movie that cryofs archived needs it."""
        state = state_of(found)
        with self._lock:
            if state in self._own:
                return True
            if time.monotonic() < self._free_until.get(state, 0.0):
                return False
        began = time.monotonic()
        own = self._estimated.get(path, found) or self._is_needed(path.parent, self._sums.get(path, found))
        ended = time.monotonic()
        with self._lock:
            if own:
                self._own.add(state)
            else:
                self._free_until[state] = ended + max(_FREE_SECONDS, _FREE_TIMES * (ended - began))
        return own

    def _is_needed(self, folder: Path, sha256: str) -> bool:
        """Return True if an archived movie in a folder or deeper, where movies look for references, needs this one."""
        return any(self._gain_of(path, found) == sha256 for path, found in self._root.files_below(folder))
