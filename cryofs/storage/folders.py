"""Create the folders of an archive durably."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage import changes
from cryofs.storage.atomic_file import OWN_PREFIX, sync_folder


def make_folders(root: Path, below: Path = Path(), on_made: Callable[[Path], object] = lambda _: None) -> Path:
    """Create a root and a folder below it durably; no folder below the root may be a symbolic link.

    Parameters
    ----------
    on_made : callable
        Called with each folder that was created.

    Returns
    -------
    Path
        Path of the folder.

    Raises
    ------
    ArchiveError
        The name of a folder belongs to a link or a file.
    """
    for folder in reversed((root, *root.parents)):
        if not folder.is_dir():
            _make_folder(folder, on_made)
    for part in below.parts:
        root /= part
        if root.is_symlink() or not root.is_dir():
            _make_folder(root, on_made)
    return root


def _make_folder(folder: Path, on_made: Callable[[Path], object]) -> None:
    try:
        changes.disk.make_folder(folder)
    except FileExistsError as error:
        if folder.is_dir() and not folder.is_symlink():
            return  # another run has created it in the meantime
        what = "a symbolic link" if folder.is_symlink() else "a file"
        raise ArchiveError(f"{folder}: expected a folder, got {what}; rename or remove it") from error
    on_made(folder)
    sync_folder(folder.parent)


def folders_of(archive: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders of an archive in the order of their names, each with the names of its files."""
    for place, folders, names in os.walk(archive):
        folders[:] = sorted(name for name in folders if not name.startswith(OWN_PREFIX))
        yield Path(place), names


def make_writable(folder: Path) -> int | None:
    """Make a folder writable for its owner that an earlier run, or another one, made read-only like its original.

    Returns
    -------
    int or None
        The mode that the folder had, or None if it was not changed; then writing a file reports the error.
    """
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
        changes.disk.set_mode(folder, mode | stat.S_IRWXU)
    except OSError:
        return None
    return mode


def copy_times(source: Path, target: Path) -> None:
    """Copy the mode and times of a folder to another folder."""
    changes.disk.copy_attributes(source, target)
    sync_folder(target)
