"""Names and attributes: which file of the archive stands behind which name of the mount.

`X.mrc.tif` appears as `X.mrc`; the archive's own gain references and drafts do not appear; everything else appears as
it is. The archive is reached through the directory descriptor that was opened before mounting, never by a path that
could lead through the mount itself, and symbolic links are shown as links, never followed.

Threads: any thread may call anything; a lock guards the table of known records.
"""

import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import DamagedError
from cryofs.formats.record import is_archived, read_record
from cryofs.movies.names import DRAFT_PREFIX, MOVIE_SUFFIXES, archived_name, is_reference_name, original_name

_KNOWN_RECORDS = 65536

Identity = tuple[int, int, int, int]


@dataclass(frozen=True)
class Attributes:
    """What stat shows; times in nanoseconds."""

    mode: int
    size: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    uid: int
    gid: int
    inode: int
    links: int
    blocks: int


@dataclass(frozen=True)
class Node:
    """A name of the mount: the archive's file behind it, its attributes, and whether it is an archived movie."""

    path: Path
    attributes: Attributes
    is_movie: bool


@dataclass(frozen=True)
class _Original:
    size: int
    mtime_ns: int
    atime_ns: int
    mode: int


class Tree:
    """The names of an archive, shown as the originals.

    Parameters
    ----------
    root : Path
        The archive, by a path that stays valid while mounted.
    """

    def __init__(self, root: Path):
        self.root = root
        self._lock = threading.Lock()
        self._known: OrderedDict[Identity, _Original | None] = OrderedDict()

    def lookup(self, path: str) -> Node:
        """Node behind an absolute path of the mount.

        Raises
        ------
        FileNotFoundError
            There is none.
        DamagedError
            It is a movie whose record is damaged.
        """
        plain = self.root / path.lstrip("/")
        if plain == self.root:
            # the root's path may be a link of /proc to a descriptor
            return Node(plain, _shown(plain.stat(), None), is_movie=False)
        if plain.name.endswith(MOVIE_SUFFIXES):
            archived = plain.with_name(archived_name(plain.name))
            found = _lstat(archived)
            original = self._original(archived, found) if found else None
            if found and original:
                return Node(archived, _shown(found, original), is_movie=True)
        found = _lstat(plain)
        if found is None or self._shown_name(plain, found) != plain.name:
            raise FileNotFoundError(path)
        return Node(plain, _shown(found, None), is_movie=False)

    def names(self, path: str) -> list[tuple[str, Attributes]]:
        """Names in a folder, with the attributes of the files behind them (type and inode are right for either)."""
        folder = self.lookup(path).path
        shown: dict[str, Attributes] = {}
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # gone since the folder was read
                name = self._shown_name(folder / entry.name, found)
                if name is not None:
                    shown[name] = _shown(found, None)
        return list(shown.items())

    def _shown_name(self, path: Path, found: os.stat_result) -> str | None:
        """Name under which a file of the archive appears, None where it does not."""
        if path.name.startswith(DRAFT_PREFIX) or is_reference_name(path.name):
            return None
        movie = original_name(path.name)
        if movie is None:
            return path.name
        try:
            return movie if self._original(path, found) else path.name
        except (DamagedError, OSError):
            return movie  # listed, so that its loss is seen; opening it tells what is wrong

    def _original(self, path: Path, found: os.stat_result) -> _Original | None:
        """What the record says of the original; None where the file is no archived movie."""
        if not stat.S_ISREG(found.st_mode):
            return None
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        with self._lock:
            if identity in self._known:
                self._known.move_to_end(identity)
                return self._known[identity]
        original = _read_original(path)
        with self._lock:
            self._known[identity] = original
            if len(self._known) > _KNOWN_RECORDS:
                self._known.popitem(last=False)
        return original


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_original(path: Path) -> _Original | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if not is_archived(descriptor, size):
            return None
        original = read_record(descriptor, size, path.name).original
        return _Original(original.bytes, original.mtime_ns, original.atime_ns, original.mode)
    finally:
        os.close(descriptor)


def _shown(found: os.stat_result, original: _Original | None) -> Attributes:
    """Attributes of a file, or of the original that it holds."""
    return Attributes(
        mode=found.st_mode if original is None else stat.S_IFREG | original.mode,
        size=found.st_size if original is None else original.size,
        mtime_ns=found.st_mtime_ns if original is None else original.mtime_ns,
        atime_ns=found.st_atime_ns if original is None else original.atime_ns,
        ctime_ns=found.st_ctime_ns,
        uid=found.st_uid,
        gid=found.st_gid,
        inode=found.st_ino,
        links=found.st_nlink,
        blocks=found.st_blocks,
    )
