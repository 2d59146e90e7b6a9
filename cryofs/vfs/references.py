"""Visibility of the archive's `gain-reference*.mrc` files in the folders of the mount.

In `@counts` they appear with the counts of gain-normalised movies. Elsewhere only those of users appear, in their own
folders and beside TIFF movies of other programs, not those of cryofs: those that it estimated, those that have the name
of their content, and those on which records of archived movies depend.

Threads: thread-safe; the lock guards the cached results.
"""

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryofs.errors import CryofsError
from cryofs.formats.archive_names import GAIN_REFERENCE, is_reference_name, later_reference_name
from cryofs.movies.gain_library import is_estimated
from cryofs.storage.checksums import file_sha256
from cryofs.storage.file_state import FileState, state_of
from cryofs.vfs.archive_root import Root
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.metadata_cache import Known

_KNOWN_FILES = 1 << 10
# The result that no archived movie uses a reference is cached for this many seconds, or for this many times the
# duration of the search if that is longer.
_FREE_SECONDS = 10.0
_FREE_TIMES = 100


class GainReferences:
    """Gain references of an archive, and the folders where they appear.

    Parameters
    ----------
    needs_references : callable
        Function that returns True if a folder has movies for which gain references are shown.
    gain_of : callable
        Function that returns the SHA-256 of the gain reference of an archived movie, or None for other files.
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
        """Return the path and attributes of the nearest reference that appears at a place, or None."""
        if not is_reference_name(place.name) or not self._root.is_folder(place.parent):
            return None
        for folder in self._folders(place.parent, place.name, counts):
            if found := self._shown(folder / place.name, counts):
                return folder / place.name, found
        return None

    def nearest(self, folder: Path) -> Path | None:
        """Return the nearest reference for TIFF movies of other programs, from a folder upwards, or None."""
        places = (above / GAIN_REFERENCE for above in self._upwards(folder))
        return next((place for place in places if self._shown(place, counts=False)), None)

    def names(self, folder: Path, counts: bool) -> set[str]:
        """Return the names of the references that may appear in a folder."""
        return {name for place in self._folders(folder, GAIN_REFERENCE, counts) for name in self._in(place)}

    def _folders(self, folder: Path, name: str, counts: bool) -> list[Path]:
        """Return the folders whose references of a name appear in a folder, the nearest first.

        Beside counts and TIFF movies of other programs, the references of the folder and of all folders above it
        appear, elsewhere only the folder's own `gain-reference.mrc`.
        """
        if counts or self._needs_references(folder):
            return self._upwards(folder)
        return [folder] if name == GAIN_REFERENCE else []

    def _upwards(self, folder: Path) -> list[Path]:
        """Return a folder and all folders above it, up to the archive."""
        below = folder.relative_to(self._root.path)
        return [self._root.path / part for part in (below, *below.parents)]

    def _in(self, folder: Path) -> list[str]:
        """Return the names of the references in a folder; empty if the folder cannot be read."""
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
            is_shown = True  # keep the file visible; reading it reports the error
        return found if is_shown else None

    def _is_own(self, path: Path, found: os.stat_result) -> bool:
        """Return True if the reference is one of cryofs, which programs neither see nor change."""
        state = state_of(found)
        with self._lock:
            if state in self._own:
                return True
            if time.monotonic() < self._free_until.get(state, 0.0):
                return False
        began = time.monotonic()
        own = self._estimated.get(path, found) or self._is_needed(path, self._sums.get(path, found))
        ended = time.monotonic()
        with self._lock:
            if own:
                self._own.add(state)
            else:
                self._free_until[state] = ended + max(_FREE_SECONDS, _FREE_TIMES * (ended - began))
        return own

    def _is_needed(self, path: Path, sha256: str) -> bool:
        """Return True if records of archived movies depend, or may soon depend, on this file with this SHA-256."""
        name = later_reference_name(sha256)
        if path.name == name:
            return True
        if any(self._is_copy(folder / name, sha256) for folder in self._upwards(path.parent)):
            return False
        return any(self._gain_of(file, found) == sha256 for file, found in self._root.files_below(path.parent))

    def _is_copy(self, path: Path, sha256: str) -> bool:
        try:
            found = self._root.lstat(path)
            return stat.S_ISREG(found.st_mode) and self._sums.get(path, found) == sha256
        except (CryofsError, OSError):
            return False
