"""What a writable mount needs to change archived movies, and what it offers to what does so.

`vfs` knows neither `compress` nor `ingest`, which make archived movies of plain ones and back. A mount gets an object
with the interface `ArchivedMovies` from its caller (`MakeArchivedMovies`); without one, archived movies are read-only.

Places are paths below the folder of the archive by its descriptor (`cryofs.vfs.archive_root.Root.path`). They have the
name that readers see, `X.mrc`; the stored file is `X.mrc.tif` beside it.
"""

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cryofs.storage.file_state import FileState
from cryofs.storage.steps import Users
from cryofs.vfs.archive_root import Root
from cryofs.vfs.folder_times import FolderTimes
from cryofs.vfs.live_files import LiveFiles
from cryofs.vfs.name_locks import NameLocks
from cryofs.vfs.namespace import Tree
from cryofs.vfs.room import Room


class AttributeChange(NamedTuple):
    """Attributes to set, None for those that stay.

    Attributes
    ----------
    mode : int or None
        Permission bits.
    uid, gid : int or None
        Owner and group.
    atime_ns, mtime_ns : int or None
        Times in nanoseconds; the caller replaces UTIME_NOW by the time.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class ArchivedMovies(Protocol):
    """Changes of archived movies. Errors are those of the system calls, as OSError, or a CryofsError."""

    def check_removable(self, place: Path) -> None:
        """Raise OSError if the movie of a name cannot be removed or replaced; called before `remove`, and quick."""

    def thaw(self, place: Path, *, empty: bool) -> None:
        """Replace the archived movie of a name by its original, a plain file, durably.

        On return, open handles read from the plain file (`LiveFile.switch`), and the stored TIFF file is gone. If the
        name has no archived movie any more, because another thread was quicker, nothing is done.

        Called without locks, because it decodes the whole movie; it locks the name for the replacement. The caller
        locks the name afterwards and looks it up again, so an ingestion in between is thawed again.

        Parameters
        ----------
        empty : bool
            Whether the plain file is to be empty, because its first change cuts it to no bytes; nothing is decoded.
        """

    def move(self, place: Path, target: Path, flags: int) -> None:
        """Rename where the source, or the file that has the target's name, is an archived movie.

        Called with both names locked. On return the change is on the disk as rename(2) promises, in one step for every
        reader. The caller moves open files to their new names afterwards (`LiveFiles.moved`, `exchanged`), so a movie
        that is thawed here, because its new name has no archived form, is switched under its old name.

        Parameters
        ----------
        flags : int
            0, `renaming.NO_REPLACE` or `renaming.EXCHANGE`.
        """

    def remove(self, place: Path) -> None:
        """Remove the archived movie of a name; open handles go on reading. Called with the name locked."""

    def folder_moves(self, folder: Path, target: Path) -> None:
        """Make sure that the movies in a folder can be read after its rename; called with all names locked."""

    def set_attributes(self, place: Path, change: AttributeChange) -> None:
        """Set attributes that readers see of an archived movie from now on. Called with the name locked."""

    def sync(self, place: Path) -> None:
        """Make the attributes of the archived movie of a name durable, if it has one."""

    def set_extended(self, place: Path, name: str, value: bytes | None, flags: int) -> None:
        """Set (`flags` as of setxattr(2)) or remove (None) an attribute `user.*`. Called with the name locked."""

    def get_extended(self, place: Path, name: str) -> bytes:
        """Return an attribute `user.*` of the original; OSError (ENODATA) if it has none of this name."""

    def list_extended(self, place: Path) -> list[str]:
        """Return the names of the attributes `user.*` of the original."""

    def plain_closed(self, place: Path) -> None:
        """Note that the last handle that could write to a plain file was closed, or that a file got this name.

        Such a file may be a finished movie. Called with no lock of the name; returns at once.
        """

    def settle_now(self) -> None:
        """Try plain movies that wait for a delay now, except those that changed recently; returns at once.

        These movies wait for a gain reference, for room, or for another attempt after an error.
        """

    def facts(self) -> dict[str, Any]:
        """Return figures of plain movies, archived or waiting; empty if the mount does not archive movies."""

    def stop(self) -> None:
        """Stop all threads and child processes; the mount is gone, and its process ends."""


class ReadOnlyMovies:
    """Archived movies that cannot be changed: every change raises OSError with EROFS."""

    def check_removable(self, place: Path) -> None:
        """Refuse."""
        raise _read_only(place)

    def thaw(self, place: Path, *, empty: bool) -> None:
        """Refuse."""
        raise _read_only(place)

    def move(self, place: Path, target: Path, flags: int) -> None:
        """Refuse."""
        raise _read_only(place)

    def remove(self, place: Path) -> None:
        """Refuse."""
        raise _read_only(place)

    def folder_moves(self, folder: Path, target: Path) -> None:
        """Refuse, because gain references would have to be copied."""
        raise _read_only(folder)

    def set_attributes(self, place: Path, change: AttributeChange) -> None:
        """Refuse."""
        raise _read_only(place)

    def sync(self, place: Path) -> None:
        """Do nothing: attributes do not change."""

    def set_extended(self, place: Path, name: str, value: bytes | None, flags: int) -> None:
        """Refuse."""
        raise _read_only(place)

    def get_extended(self, place: Path, name: str) -> bytes:
        """Return no attribute."""
        raise OSError(errno.ENODATA, "no such attribute", place.name)

    def list_extended(self, place: Path) -> list[str]:
        """Return no names."""
        return []

    def plain_closed(self, place: Path) -> None:
        """Do nothing: files stay plain."""

    def settle_now(self) -> None:
        """Do nothing: files stay plain."""

    def facts(self) -> dict[str, Any]:
        """Return no figures."""
        return {}

    def stop(self) -> None:
        """Do nothing: there are no threads."""


def _read_only(place: Path) -> OSError:
    return OSError(errno.EROFS, "archived movies cannot be changed through this mount", place.name)


class UsersOfStep(Protocol):
    """Makes the context of a step about a name, which the caller has locked."""

    def __call__(
        self, place: Path, state: FileState | None, draft: Path | None = None, target: Path | None = None
    ) -> AbstractContextManager[Users]:
        """Return a context with the `Users` for `cryofs.storage.steps.replace_twin`.

        They know all users of the file, refuse if it has a writer or another state than `state`, and switch its open
        handles to the file that the name shows then.

        Parameters
        ----------
        state : FileState or None
            None for an archived movie, whose bytes never change.
        draft, target : Path or None
            File that the step gives the name `target`, plain or archived, and that is shown from then on. It keeps the
            inode number of the file that it replaces.
        """


@dataclass(frozen=True)
class MountParts:
    """What a mount offers to the code that changes its archived movies.

    Attributes
    ----------
    archive : Path
        Folder of the archive as given; below a mount over the archive it leads into the mount, so use `root`.
    tree : Tree
        Names and nodes; `tree.facts` has the metadata of the records.
    live : LiveFiles
        Open files by place; `live.has_writer(place)` with the name locked.
    names : NameLocks
        `names.changing(place)` excludes opens, writers and changes of a name; hold it for the replacement only.
    users : callable
        Returns the context of a step about a name; see `UsersOfStep`.
    room : Room
        Room on the file system of the archive.
    times : FolderTimes
        Times of folders: `times.kept(folder)` gives a folder its time back after work of cryofs in it.
    """

    archive: Path
    root: Root
    tree: Tree
    live: LiveFiles
    names: NameLocks
    users: UsersOfStep
    room: Room
    times: FolderTimes


MakeArchivedMovies = Callable[[MountParts], ArchivedMovies]
