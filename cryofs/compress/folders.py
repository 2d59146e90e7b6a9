"""Prepare the folders to which a run writes: create them, make them writable, and remove stale drafts."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from cryofs.archive.jobs import Job, Kind
from cryofs.errors import ArchiveError
from cryofs.storage import atomic_file, changes
from cryofs.storage.folders import make_folders, make_writable


class Folders:
    """Context manager that prepares folders of the archive at `root`; the run reads the folders in `sources`."""

    def __init__(self, root: Path, sources: Iterable[Path]):
        self._root = root
        self._sources = {_identity(path) for path in sources}
        self._modes: dict[Path, int] = {}
        self._made: list[Path] = []

    def __enter__(self) -> "Folders":
        return self

    def __exit__(self, *_: object) -> None:
        for folder, mode in self._modes.items():
            with contextlib.suppress(OSError):
                changes.disk.set_mode(folder, mode)

    def make(self, below: Path) -> None:
        """Create a folder below the root, or make the existing one writable, and remove its stale drafts.

        Raises
        ------
        ArchiveError
            The name belongs to a file or link, or the folder is one of the sources.
        """
        folder = make_folders(self._root, below, self._made.append)
        if _identity(folder) in self._sources:
            raise ArchiveError(f"{folder}: is both a source and a folder of the archive; pass another archive with -o")
        # the mode of the root is left to its owner
        if below != Path() and (mode := make_writable(folder)) is not None:
            self._modes[folder] = mode
        atomic_file.remove_stale_drafts(folder)

    def remove_link(self, below: Path, source: Path) -> None:
        """Remove a link that an earlier run stored with the same target as `source`, to make room for a folder."""
        place = self._root / below
        if place.is_symlink() and place.readlink() == source.readlink():
            changes.disk.remove(place)
            atomic_file.sync_folder(place.parent)

    def remove_empty(self, jobs: Iterable[Job]) -> None:
        """Remove empty folders that this run created, except those that are empty in the source."""
        originals = {self._root / job.target: job.source for job in jobs if job.kind is Kind.FOLDER}
        for folder in reversed(self._made):
            original = originals.get(folder)
            with contextlib.suppress(OSError):
                if original is None or any(original.iterdir()):
                    changes.disk.remove_folder(folder)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
