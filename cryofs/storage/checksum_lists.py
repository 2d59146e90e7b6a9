"""The checksum list of a folder, which contains the SHA-256 of files in the format of `sha256sum`.

Several processes may change a list (`cryofs.storage.locked_file`).

A file is replaced in three steps: the line of the file is removed, the new file is renamed, and the new line is added.
A kill between these steps leaves a file without a line, but not a line with the checksum of other bytes. A comment
with the checksums before and after shows meanwhile that the file is a copy.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryofs.errors import ArchiveError, CryofsError, DamagedError
from cryofs.storage import locked_file
from cryofs.storage.checksum_lines import BadLine, Lines, Seen, parse
from cryofs.storage.coarse_times import is_same_time

LIST_NAME = ".cryofs-sha256"

# Number of files, and of bytes, after which a run writes its lines.
_BATCH_FILES = 256
_BATCH_BYTES = 256 << 20
# Number of lists in memory: those of the folders that are read and written, and of the folders above.
_LISTS_KEPT = 8


def load(folder: Path) -> Lines:
    """Return the contents of the list of a folder, including invalid lines; return an empty list if there is none."""
    try:
        with locked_file.checked(folder / LIST_NAME, _fix(folder)).open("rb") as file:
            return parse(file.read())
    except FileNotFoundError:
        return Lines()


def bad_line_error(folder: Path, line: BadLine) -> DamagedError:
    """Return the error for an invalid line in the list of a folder."""
    place = f"{folder / LIST_NAME}, line {line.number}"
    return DamagedError(f"{place}: invalid ({line.problem}); remove the line, then run cryofs adopt {folder}")


def mismatch_error(path: Path, expected: str, found: str) -> DamagedError:
    """Return the error for a file whose checksum differs from the recorded one."""
    return DamagedError(
        f"{path}: checksum mismatch (expected SHA-256 {expected[:16]}..., got {found[:16]}...); restore it from a "
        f"backup, or remove its line from {LIST_NAME} and run cryofs adopt if it was changed on purpose"
    )


def read_list(folder: Path) -> dict[str, str]:
    """Return the recorded checksums of the files of a folder by name; return an empty dictionary if there is no list.

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
    """Return the recorded checksum of a file, or None if the list of its folder has no line for the file."""
    return load(path.parent).sums.get(path.name)


def is_copy_with(path: Path, sha256: str) -> bool:
    """Return True if compress copied a file and the copy had this checksum."""
    return sha256 in load(path.parent).copied(path.name)


def set_seen(path: Path, sha256: str, found: os.stat_result) -> None:
    """Record the checksum and state of a file of the archive; the change is durable on return."""

    def change(lines: Lines) -> None:
        is_copy = sha256 in lines.copied(path.name)
        lines.set(path.name, sha256, Seen.of(found, is_copy=is_copy))

    _rewrite(path.parent, change, create=True)


def update(folder: Path, changes: Mapping[str, str | None]) -> None:
    """Set the checksums of files in the list of a folder, or remove those that are None; durable on return."""

    def change(lines: Lines) -> None:
        for name, sha256 in changes.items():
            lines.set(name, sha256)

    _rewrite(folder, change, create=any(changes.values()))


@contextlib.contextmanager
def replacing(target: Path, sha256: str | None = None) -> Iterator[None]:
    """Remove the line of a file that the caller replaces in the context, unless it is valid for the new bytes.

    The list remains locked until the end of the context, so that no other run records the replaced file meanwhile.

    Parameters
    ----------
    sha256 : str or None
        SHA-256 of the new bytes; None to remove the line in any case.
    """
    with _replacing(target, sha256, load(target.parent)):
        yield


@contextlib.contextmanager
def _replacing(target: Path, sha256: str | None, lines: Lines) -> Iterator[None]:
    is_bad = any(line.name == target.name for line in lines.bad)
    if not is_bad and lines.sums.get(target.name) in (None, sha256):
        yield
        return
    with _changed(target.parent, lambda lines: lines.begin(target.name, sha256)):
        yield


def drop_lines(*paths: Path) -> None:
    """Remove the lines of files that are about to be replaced or removed, one after the other."""
    for path in paths:
        with replacing(path):
            pass


class ListReader:
    """A reader that caches lists until they change, for runs with many files."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, ...] | None, Lines]] = {}

    def recorded(self, target: Path) -> str | None:
        """Return the recorded checksum of a file, or None if the list of its folder has no line for the file."""
        return self._lines(target.parent).sums.get(target.name)

    def is_seen(self, path: Path, found: os.stat_result) -> bool:
        """Return True if an ingestion recorded the checksum of a file in this state."""
        seen = self._lines(path.parent).seen.get(path.name)
        return seen is not None and seen[:4] == Seen.of(found, is_copy=False)[:4]

    def replacing(self, target: Path, sha256: str | None = None) -> contextlib.AbstractContextManager[None]:
        """Remove the line of a file that the caller replaces in the context; see the function `replacing`."""
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
    seen: Seen | None = None


class ChecksumLists(ListReader):
    """Context manager that writes new lines in batches; it writes the last batch at the end, even after an error.

    Parameters
    ----------
    on_written : callable
        Called with each file when its line is durable.
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

    def add(self, target: Path, sha256: str, found: os.stat_result | None = None, *, own: bool = False) -> None:
        """Add a line to the current batch.

        Parameters
        ----------
        found : os.stat_result, optional
            State of the file with the checksum. If another file has the name when the batch is written, the line is
            omitted, because the run that made the other file records it.
        own : bool
            Whether the file is not a copy.
        """
        entry = _Entry(sha256, found and _identity(found), Seen.of(found, is_copy=False) if found and own else None)
        self._waiting.setdefault(target.parent, {})[target.name] = entry
        self._files += 1
        self._bytes += found.st_size if found else 0
        if self._files >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all waiting lines; on return, each line is durable or its error was reported."""
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
                    text = f"{folder / name}: removed before its checksum was recorded; run the same command again"
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
        lines.set(name, entry.sha256, entry.seen)


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
    locked_file.rewrite(folder / LIST_NAME, partial(_encoded, change), create=create, fix=_fix(folder))


@contextlib.contextmanager
def _changed(folder: Path, change: Callable[[Lines], object]) -> Iterator[None]:
    """Replace a list durably after a change, and keep the new list locked until the end of the context."""
    change_bytes = partial(_encoded, change)
    with locked_file.changed(folder / LIST_NAME, change_bytes, create=False, fix=_fix(folder)):
        yield


def _encoded(change: Callable[[Lines], object], old: bytes) -> bytes:
    lines = parse(old)
    change(lines)
    return lines.encode()


def _fix(folder: Path) -> str:
    return f"remove it, then run cryofs adopt {folder}"
