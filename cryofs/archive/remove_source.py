"""Remove sources that equal their archived copies, unless they changed, are in use, or are the copies themselves."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cryofs.archive.pairs import Pair, identity, is_one_inode
from cryofs.archive.shown import Shown
from cryofs.errors import ChangedError
from cryofs.storage import changes, leases
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.file_state import state_of

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


class NotRemovedError(Exception):
    """A source equals its archived copy but was not removed; the message gives the reason."""


class Guard:
    """An open source and its open counterpart, with their states when they were opened.

    Attributes
    ----------
    source, there : int
        Descriptors of the source and of the stored file.
    source_bytes, stored_bytes : LocalFile
        Readers of the source and of the stored file.
    before : os.stat_result
        State of the source when it was opened.
    """

    def __init__(self, pair: Pair, source: int, stored: Shown, there: int):
        self.pair = pair
        self.source = source
        self.stored = stored
        self.there = there
        self.source_bytes = LocalFile(source, str(pair.source), is_owned=False)
        self.stored_bytes = LocalFile(there, str(stored.path), is_owned=False)
        self.before = self.source_bytes.stat
        self._leased = False

    def take_lease(self) -> None:
        """Take a write lease on the source; raise NotRemovedError if another program has it open."""
        try:
            self._leased = leases.take_write_lease(self.source)
        except ChangedError as error:
            raise NotRemovedError(f"in use: {error}") from error

    def check_lease(self) -> None:
        """End the lease; raise NotRemovedError if another program is opening the source."""
        if self._leased and not leases.is_held(self.source):
            self._end_lease()
            raise NotRemovedError("in use: opened by another program during the comparison")

    def check_unchanged(self) -> None:
        """Check that neither file changed after it was opened, and that the stored file still has its name.

        Raises
        ------
        ChangedError
            A file changed, or the stored file was renamed or replaced.
        """
        if state_of(os.fstat(self.source)) != state_of(self.before):
            raise ChangedError(f"{self.pair.source}: changed while it was compared; rerun cryofs compare")
        found = state_of(self.stored.found)
        if state_of(os.fstat(self.there)) != found or state_of(self.stored.path.lstat()) != found:
            raise ChangedError(f"{self.stored.path}: changed or replaced while it was compared; rerun cryofs compare")

    def _end_lease(self) -> None:
        if self._leased:
            self._leased = False
            leases.release(self.source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_lease()


class Remover:
    """Removal of files, links and folders of SOURCE; threads may share an instance.

    Parameters
    ----------
    folders : mapping
        Folders of SOURCE, by the device and inode found in the scan.
    leases_hold : callable
        Returns True if leases on files of a folder detect all programs that open them.
    """

    def __init__(self, folders: Mapping[tuple[int, int], Path], leases_hold: Callable[[Path], bool]):
        self._folders = folders
        self._leases_hold = leases_hold
        self._lock = threading.Lock()
        self._by_device: dict[int, bool] = {}
        # targets of kept links: files and folders by device and inode, folders also by path
        self._held: dict[tuple[int, int], Path] = {}
        self._held_folders: dict[Path, Path] = {}

    def hold(self, link: Path) -> None:
        """Protect the target of a link that is kept, the links on the way to it, and, for a folder, its contents."""
        try:
            found = link.stat()
            further = list(_further_links(link))
        except OSError:
            return
        with self._lock:
            for inode in further:
                self._held.setdefault(inode, link)
            self._held.setdefault(identity(found), link)
            if stat.S_ISDIR(found.st_mode) and (folder := self._folders.get(identity(found))):
                self._held_folders.setdefault(folder, link)

    def prepare(self, guard: Guard) -> None:
        """Check before a comparison that the file may be removed, and take a lease on it if possible.

        Raises
        ------
        NotRemovedError
            The source is the stored file itself, is the target of a link that is kept, or is open in another program.
        """
        if is_one_inode(guard.before, guard.stored.found):
            raise NotRemovedError(f"same inode as {guard.stored.path}, so the file was compared with itself")
        self._check_links(guard.pair.source, guard.before)
        if self._has_leases(guard.pair.source.parent, guard.before.st_dev):
            guard.take_lease()

    def remove_file(self, guard: Guard) -> None:
        """Remove a source that equals its archived copy.

        Raises
        ------
        NotRemovedError
            The file changed or is in use.
        ChangedError
            The stored file changed.
        """
        guard.check_lease()
        guard.check_unchanged()
        self._remove(guard.pair.source, guard.before)

    def remove_link(self, link: Path, before: os.stat_result) -> None:
        """Remove a symbolic link; raise the errors of `remove_file`."""
        self._check_links(link, before)
        self._remove(link, before)

    def remove_folder(self, folder: Path, before: os.stat_result) -> None:
        """Remove a folder if it is empty and has not been replaced since the scan.

        Raises
        ------
        NotRemovedError
            The parent folder was replaced, or the folder is the target of a link that is kept.
        """
        self._check_links(folder, before)
        parent = self._opened_parent(folder)
        try:
            if identity(os.stat(folder.name, dir_fd=parent, follow_symlinks=False)) == identity(before):
                changes.disk.remove_folder_in(parent, folder.name)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise _naming(error, folder) from error
        finally:
            os.close(parent)

    def _check_links(self, path: Path, found: os.stat_result) -> None:
        """Raise NotRemovedError if a path is the target of a link that is kept, or is inside such a target."""
        with self._lock:
            link = self._held.get(identity(found))
            above = next((folder for folder in path.parents if folder in self._held_folders), None)
        if link is not None:
            raise NotRemovedError(f"target of the link {link}, which was not removed")
        if above is not None:
            link = self._held_folders[above]
            raise NotRemovedError(f"inside {above}, the target of the link {link}, which was not removed")

    def _remove(self, path: Path, before: os.stat_result) -> None:
        parent = self._opened_parent(path)
        try:
            now = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
            if state_of(now) != state_of(before):
                raise NotRemovedError("changed or replaced while it was compared")
            changes.disk.remove_in(parent, path.name)
        except FileNotFoundError as error:
            raise NotRemovedError("removed by another program") from error
        except OSError as error:
            raise _naming(error, path) from error
        finally:
            os.close(parent)

    def _opened_parent(self, path: Path) -> int:
        """Return a descriptor of the parent folder; raise NotRemovedError if that folder was replaced."""
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._folders.get(identity(os.fstat(parent))) != path.parent:
            os.close(parent)
            raise NotRemovedError(f"{path.parent} was replaced by another folder during the comparison")
        return parent

    def _has_leases(self, folder: Path, device: int) -> bool:
        with self._lock:
            if device not in self._by_device:
                self._by_device[device] = self._leases_hold(folder)
            return self._by_device[device]


def _naming(error: OSError, path: Path) -> OSError:
    """Return a copy of an error with the full path in place of the file name."""
    return OSError(error.errno, error.strerror, str(path))


def _further_links(link: Path) -> Iterator[tuple[int, int]]:
    """Yield the device and inode of each link between a link and its final target."""
    while True:
        link = link.parent / link.readlink()
        if not link.is_symlink():
            return
        yield identity(link.lstat())
