"""Read and update the checksum list of a folder, which contains the SHA-256 of files, in the format of `sha256sum`.

A list is never modified in place; a new list replaces it by a rename. Meanwhile the folder is locked, so that runs on
any host lose no line of each other (`cryofs.storage.folder_lock`).

A file is replaced in three steps: the line of the file is removed, the new file is renamed, and the new line is added.
A kill between these steps leaves a file without a line, but never a line with the checksum of other bytes.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryofs.errors import ArchiveError, CryofsError, DamagedError
from cryofs.storage import atomic_file, changes
from cryofs.storage.checksum_lines import BadLine, Lines, parse
from cryofs.storage.coarse_times import is_same_time
from cryofs.storage.folder_lock import locked

LIST_NAME = ".cryofs-sha256"

# A run writes its lines after this many files or bytes.
_BATCH_FILES = 256
_BATCH_BYTES = 256 << 20
# Lists in memory: those of the folders that are read and written, and of the folders above.
_LISTS_KEPT = 8


def load(folder: Path) -> Lines:
    """Return the contents of the list of a folder, including invalid lines; empty if there is no list."""
    try:
        with _checked(folder / LIST_NAME).open("rb") as file:
            return parse(file.read())
    except FileNotFoundError:
        return Lines()


def bad_line_error(folder: Path, line: BadLine) -> DamagedError:
    """Return the error for an invalid line of the list of a folder."""
    place = f"{folder / LIST_NAME}, line {line.number}"
    return DamagedError(f"{place}: invalid ({line.problem}); remove the line, then run cryofs adopt {folder}")


def mismatch_error(path: Path, expected: str, found: str) -> DamagedError:
    """Return the error for a file whose checksum differs from the recorded one."""
    return DamagedError(
        f"{path}: checksum mismatch (expected SHA-256 {expected[:16]}..., got {found[:16]}...); restore it from a "
        f"backup, or remove its line from {LIST_NAME} and run cryofs adopt if it was changed on purpose"
    )


def read_list(folder: Path) -> dict[str, str]:
    """Return the recorded checksums of the files of a folder, by name; empty if there is no list.

    Raises
    ------
    DamagedError
        The list has an invalid line.
    """
    lines = load(folder)
    if lines.bad:
        raise bad_line_error(folder, lines.bad[0])
    return lines.sums


def recorded(path: Path) -> str | None:
    """Return the recorded checksum of a file, or None if the list of its folder does not contain the file."""
    return load(path.parent).sums.get(path.name)


def update(folder: Path, changes: Mapping[str, str | None]) -> None:
    """Set the checksums of files in the list of a folder, or remove them (None); the change is durable on return."""

    def change(lines: Lines) -> None:
        for name, sha256 in changes.items():
            lines.set(name, sha256)

    _rewrite(folder, change, create=any(changes.values()))


@contextlib.contextmanager
def replacing(target: Path, sha256: str | None = None) -> Iterator[None]:
    """Remove the line of a file that the caller replaces in the context, unless the line is valid for the new bytes.

    The list remains locked until the end of the context, so that no other run records the replaced file meanwhile.

    Parameters
    ----------
    sha256 : str or None
        Checksum of the new bytes; None to remove the line in any case.
    """
    with _replacing(target, sha256, load(target.parent)):
        yield


@contextlib.contextmanager
def _replacing(target: Path, sha256: str | None, lines: Lines) -> Iterator[None]:
    is_bad = any(line.name == target.name for line in lines.bad)
    if not is_bad and lines.sums.get(target.name) in (None, sha256):
        yield
        return
    with _changed(target.parent, lambda lines: lines.set(target.name, None), create=False):
        yield


class ListReader:
    """Reader that caches lists until they change, for runs with many files."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, ...] | None, Lines]] = {}

    def recorded(self, target: Path) -> str | None:
        """Return the recorded checksum of a file, or None if the list of its folder does not contain the file."""
        return self._lines(target.parent).sums.get(target.name)

    def replacing(self, target: Path, sha256: str | None = None) -> contextlib.AbstractContextManager[None]:
        """Remove the line of a file that the caller replaces in the context, as the function `replacing` does."""
        return _replacing(target, sha256, self._lines(target.parent))

    def _lines(self, folder: Path) -> Lines:
        state = _list_state(folder)
        known = self._read.pop(folder, None)
        if known is None or known[0] != state:
            known = state, load(folder)
        self._read[folder] = known
        if len(self._read) > _LISTS_KEPT:
            self._read.pop(next(iter(self._read)))
        return known[1]


@dataclass(frozen=True)
class _Entry:
    sha256: str
    file: tuple[int, int, int, int] | None


class ChecksumLists(ListReader):
    """Context manager that writes new lines in batches, and the last batch at the end, even after an error.

    Parameters
    ----------
    on_written : callable
        Called with each file after the line of the file is durable.
    on_error : callable
        Called with each file whose line could not be written, and the error.
    """

    def __init__(
        self,
        on_written: Callable[[Path], object] = lambda _: None,
        on_error: Callable[[Path, CryofsError | OSError], object] | None = None,
    ):
        super().__init__()
        self._on_written = on_written
        self._on_error = on_error
        self._waiting: dict[Path, dict[str, _Entry]] = {}
        self._files = self._bytes = 0

    def __enter__(self) -> "ChecksumLists":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, target: Path, sha256: str, found: os.stat_result | None = None) -> None:
        """Add a line to the current batch.

        Parameters
        ----------
        found : os.stat_result, optional
            State of the file with the checksum. If another file has the name when the batch is written, the line is
            omitted, because the run that made the other file records it.
        """
        self._waiting.setdefault(target.parent, {})[target.name] = _Entry(sha256, found and _identity(found))
        self._files += 1
        self._bytes += found.st_size if found else 0
        if self._files >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all waiting lines; on return, each line is durable or was reported as an error."""
        self._files = self._bytes = 0
        while self._waiting:
            folder, entries = self._waiting.popitem()
            gone: list[str] = []
            try:
                _rewrite(folder, partial(_enter, folder, entries, gone), create=True)
            except (CryofsError, OSError) as error:
                if self._on_error is None:
                    raise
                for name in entries:
                    self._on_error(folder / name, error)
                continue
            for name in entries:
                if name not in gone:
                    self._on_written(folder / name)
                elif self._on_error is not None:
                    text = f"{folder / name}: removed before the checksum was recorded; run the same command again"
                    self._on_error(folder / name, ArchiveError(text))


def _enter(folder: Path, entries: Mapping[str, _Entry], gone: list[str], lines: Lines) -> None:
    """Add the lines of files that still exist to `lines`, and the names of missing files to `gone`."""
    for name, entry in entries.items():
        if entry.file is not None:
            try:
                found = (folder / name).lstat()
            except FileNotFoundError:
                gone.append(name)
                continue
            if not _is_same(folder, entry.file, _identity(found)):
                continue
        lines.set(name, entry.sha256)


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_same(folder: Path, before: tuple[int, int, int, int], now: tuple[int, int, int, int]) -> bool:
    """Return True if a file is the same; storage may round its time after the file was closed."""
    return before[:3] == now[:3] and is_same_time(now[3], before[3], folder)


def _list_state(folder: Path) -> tuple[int, ...] | None:
    try:
        found = (folder / LIST_NAME).lstat()
    except FileNotFoundError:
        return None
    return *_identity(found), found.st_ctime_ns


def _rewrite(folder: Path, change: Callable[[Lines], object], *, create: bool) -> None:
    with _changed(folder, change, create=create) as lines:
        if lines is not None and not lines.encode():
            changes.disk.remove(folder / LIST_NAME, missing_ok=True)
            atomic_file.sync_folder(folder)


@contextlib.contextmanager
def _changed(folder: Path, change: Callable[[Lines], object], *, create: bool) -> Iterator[Lines | None]:
    """Replace a list durably after a change, and keep the new list locked until the end of the context.

    Yields
    ------
    Lines or None
        The new contents, or None if there is no list and `create` is False.
    """
    path = folder / LIST_NAME
    if not create and not os.path.lexists(path):
        yield None
        return
    with contextlib.ExitStack() as stack:
        with atomic_file.naming(path):
            check_lock = stack.enter_context(locked(folder))
        old, mode = _contents(path)
        if old is None and not create:
            yield None
            return
        lines = parse(old or b"")
        change(lines)
        new = lines.encode()
        if new != (old or b""):
            with atomic_file.naming(path), atomic_file.draft(path) as made:
                made.write(new)
                if mode is not None:
                    changes.disk.set_mode(made.file.fileno(), mode)
                made.sync()
                check_lock()
                made.publish()
        yield lines


def _contents(path: Path) -> tuple[bytes | None, int | None]:
    """Return the bytes and the mode of a list, or None for both if there is no list."""
    try:
        with _checked(path).open("rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError:
        return None, None


def _checked(path: Path) -> Path:
    """Return the path of a list; raise an error unless it is a regular file, because a link could lead anywhere."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ArchiveError(f"{path}: not a regular file; remove it, then run cryofs adopt {path.parent}")
    return path
