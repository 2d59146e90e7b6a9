"""Access to the files of an archive, relative to the descriptor of its folder.

Every path is resolved one folder at a time from the descriptor that was opened at mounting, and no symbolic link is
followed. A path therefore never leads out of the archive, even if a folder is replaced by a link between two requests,
and a mount over its own archive does not lead into itself.

Threads: thread-safe.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryofs.storage.byte_source import LocalFile
from cryofs.system.paths import FOLDER_FLAGS

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# opening a named pipe would block until its other end is opened
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Root:
    """The folder of an archive and the files in it. A place is a path below `path`.

    Parameters
    ----------
    folder : Path
        Path of the folder.
    descriptor : int or None
        Descriptor of the folder if it is already open.

    Attributes
    ----------
    path : Path
        Path of the folder through its descriptor; it stays valid after mounts and renames.
    device : int
        Device number of the folder's file system.
    known_as : set of Path
        Absolute paths of the folder at opening: as given, and with symbolic links resolved.
    """

    def __init__(self, folder: Path, descriptor: int | None = None):
        self._name = str(folder.absolute())
        self.known_as = {folder.absolute(), Path(os.path.realpath(folder))}
        self.descriptor = os.open(folder, FOLDER_FLAGS) if descriptor is None else descriptor
        self.device = os.fstat(self.descriptor).st_dev
        self.path = Path(f"/proc/self/fd/{self.descriptor}")
        self._parts = self.path.parts

    def name_of(self, place: Path) -> str:
        """Return the name of a place, for messages and wait keys."""
        return "/".join((self._name, *self.below(place)))

    def below(self, place: Path) -> tuple[str, ...]:
        """Return the path components from the archive's folder to a place; raise ValueError for any other path."""
        # the equivalent methods of Path would take most of the time of a lookup
        parts = place.parts
        if parts[: len(self._parts)] != self._parts:
            raise ValueError(f"{place}: not below {self.path}")
        return parts[len(self._parts) :]

    def lstat(self, place: Path) -> os.stat_result:
        """Return the attributes of a place without following a symbolic link."""
        if place == self.path:
            return os.fstat(self.descriptor)
        with self.above(place) as folder:
            return os.stat(place.name, dir_fd=folder, follow_symlinks=False)

    def open(self, place: Path) -> LocalFile:
        """Open a regular file; raise OSError for any other file type."""
        with self.above(place) as folder:
            source = LocalFile(_open_file(place.name, folder), self.name_of(place))
        if not stat.S_ISREG(source.stat.st_mode):
            source.close()
            raise OSError(errno.ENXIO, "not a regular file", place.name)
        return source

    def entries(self, place: Path) -> Iterator[tuple[str, os.stat_result]]:
        """Iterate over the entries of a folder, sorted by name."""
        with self.folder(place) as folder, _opened(".", os.O_RDONLY, folder) as readable:
            with os.scandir(readable) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                # skip entries that were removed since the folder was read
                with contextlib.suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False)

    def files_below(self, place: Path) -> Iterator[tuple[Path, os.stat_result]]:
        """Iterate over the regular files of a folder tree; skip folders that cannot be read."""
        folders = [place]
        while folders:
            folder = folders.pop()
            with contextlib.suppress(OSError):
                for name, found in self.entries(folder):
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(folder / name)
                    elif stat.S_ISREG(found.st_mode):
                        yield folder / name, found

    def names(self, place: Path) -> list[str]:
        """Return the sorted names in a folder."""
        with self.folder(place) as folder, _opened(".", os.O_RDONLY, folder) as readable:
            return sorted(os.listdir(readable))

    def attributes(self, place: Path, names: Iterable[str]) -> list[tuple[str, os.stat_result]]:
        """Return the given names in a folder with their attributes; skip names that do not exist."""
        return list(self.existing(place, names))

    def existing(self, place: Path, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
        """Iterate over the given names that exist in a folder; each is looked up on demand."""
        with self.folder(place) as folder:
            for name in names:
                try:
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield name, found

    def read_link(self, place: Path) -> str:
        """Return the target of a symbolic link."""
        with self.above(place) as folder:
            return os.readlink(place.name, dir_fd=folder)

    def is_folder(self, place: Path) -> bool:
        """Return True if a place is a folder, and not a symbolic link to a folder."""
        try:
            return stat.S_ISDIR(self.lstat(place).st_mode)
        except OSError:
            return False

    def devices(self, folder: Path) -> list[tuple[Path, int]]:
        """Return the folders from the archive's folder down to `folder`, each with its device number."""
        found = [(self.path, self.device)]
        with contextlib.closing(_Descent(self.descriptor)) as descent:
            for name in self.below(folder):
                descent.enter(name)
                found.append((found[-1][0] / name, os.fstat(descent.descriptor).st_dev))
        return found

    def close(self) -> None:
        """Close the descriptor of the folder."""
        os.close(self.descriptor)

    def above(self, place: Path) -> contextlib.AbstractContextManager[int]:
        """Open the parent folder of a place; yield its descriptor."""
        if place.name == os.pardir:
            raise FileNotFoundError(str(place))
        return self.folder(place.parent)

    @contextlib.contextmanager
    def entry(self, place: Path) -> Iterator[tuple[int, str]]:
        """Open the parent folder of a place; yield its descriptor and the name in it, `.` for the archive's folder."""
        if place == self.path:
            yield self.descriptor, os.curdir
        else:
            with self.above(place) as folder:
                yield folder, place.name

    @contextlib.contextmanager
    def folder(self, place: Path) -> Iterator[int]:
        """Open a folder; yield its descriptor."""
        names = self.below(place)
        if os.pardir in names:
            raise FileNotFoundError(str(place))
        with contextlib.closing(_Descent(self.descriptor)) as descent:
            for name in names:
                descent.enter(name)
            yield descent.descriptor


class _Descent:
    """A way down from an open folder, of which only the lowest folder is kept open.

    Attributes
    ----------
    descriptor : int
        The lowest folder that was entered.
    """

    def __init__(self, folder: int):
        self._top = self.descriptor = folder

    def enter(self, name: str) -> None:
        """Enter the folder of this name."""
        below = os.open(name, os.O_PATH | _FOLDER, dir_fd=self.descriptor)
        self.close()
        self.descriptor = below

    def close(self) -> None:
        """Close the lowest folder, unless it is the one at the top."""
        if self.descriptor != self._top:
            os.close(self.descriptor)
            self.descriptor = self._top


def _open_file(name: str, folder: int) -> int:
    """Open a file without waiting for the other end of a pipe, but until a program has given up its lease."""
    try:
        return os.open(name, _FILE, dir_fd=folder)
    except BlockingIOError:
        # only regular files have leases; cryofs ingest holds one for some milliseconds
        return os.open(name, _FILE & ~os.O_NONBLOCK, dir_fd=folder)


def path_in(folder: int, name: str) -> Path:
    """Return a path to a file of an open folder, for calls that take no descriptor of one."""
    return Path(f"/proc/self/fd/{folder}") / name


@contextlib.contextmanager
def _opened(name: str, flags: int, folder: int) -> Iterator[int]:
    descriptor = os.open(name, flags | _FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
