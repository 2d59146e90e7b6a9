"""The index: metadata of an archive's files, kept between mounts in an SQLite database in the user's cache folder.

The index only saves reads. An entry is valid for one state of a file. It has a checksum, because a wrong size would
truncate the data that readers get. A damaged index is recreated. If an index cannot be used, for example because
another mount has locked it, it is not changed, and the mount works without an index.

Threads: use an index from one thread only.
"""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryofs.storage.checksums import xxh3_checksum
from cryofs.storage.file_state import FileState

# Version of the tables and of the rules that recognise movies. It is part of the file name: indexes of other versions
# are not changed.
_LAYOUT = 6
_COLUMNS = """(
    kind text, device integer, inode integer, size integer, mtime_ns integer, ctime_ns integer, value blob, sum text,
    primary key (kind, device, inode, size, mtime_ns, ctime_ns)
) without rowid"""
_STATE = "kind = ? and device = ? and inode = ? and size = ? and mtime_ns = ? and ctime_ns = ?"
# entries are loaded at once; surveys are large, and each is loaded when its file is opened
_TABLES = ("entries", "surveys")
_SELECT = "select kind, device, inode, size, mtime_ns, ctime_ns, value, sum from entries"
_SELECT_SURVEY = f"select value, sum from surveys where {_STATE}"

# Errors that do not indicate damage: the file is locked, or disk space, memory or permissions are lacking.
_TRANSIENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}
# Errors that a damaged file causes; invalid UTF-8 raises a ValueError.
_ERRORS = (sqlite3.Error, ValueError)

Entry = tuple[str, FileState, bytes]

log = logging.getLogger("cryofs")


def index_path(archive: Path) -> Path | None:
    """Return the path of the index of an archive, or None if the user has no home folder."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    name = hashlib.sha256(os.fsencode(archive.absolute())).hexdigest()[:16]
    return cache / "cryofs" / f"index-{_LAYOUT}-{name}.sqlite"


class Index:
    """The entries of an index file. Without a usable file, nothing is loaded or stored.

    Parameters
    ----------
    path : Path or None
        The index file, created if it is missing. None disables the index.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._connection: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(path)
        except (OSError, *_ERRORS) as error:
            self._mend(error)

    def entries(self) -> Iterator[Entry]:
        """Iterate over the entries with a valid checksum: table key, file state and value."""
        try:
            if self._connection is not None:
                for kind, *numbers, value, summed in self._connection.execute(_SELECT):
                    state = FileState(*numbers)
                    if isinstance(value, bytes) and summed == _sum(kind, state, value):
                        yield kind, state, value
        except _ERRORS as error:
            self._mend(error)

    def survey(self, kind: str, state: FileState) -> bytes | None:
        """Return the survey of a file, or None if there is none with a valid checksum."""
        try:
            if self._connection is not None:
                for value, summed in self._connection.execute(_SELECT_SURVEY, (kind, *state)):
                    if isinstance(value, bytes) and summed == _sum(kind, state, value):
                        return value
        except (OverflowError, *_ERRORS) as error:
            self._mend(error)
        return None

    def add(self, entries: Iterable[Entry]) -> None:
        """Store entries, and replace existing entries of the same file state."""
        self._add("entries", entries)

    def add_survey(self, entry: Entry, survey: bytes) -> None:
        """Store the survey of a file, and the entry that follows from it."""
        kind, state, _ = entry
        self._add("surveys", [(kind, state, survey)])
        self._add("entries", [entry])

    def remove(self, entries: Iterable[tuple[str, FileState]]) -> None:
        """Delete the entries and surveys of files that were removed or changed."""
        gone = [(kind, *state) for kind, state in entries]
        for table in _TABLES:
            self._change(f"delete from {table} where {_STATE}", gone)

    def _add(self, table: str, entries: Iterable[Entry]) -> None:
        rows = ((kind, *state, value, _sum(kind, state, value)) for kind, state, value in entries)
        self._change(f"insert or replace into {table} values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _change(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            if self._connection is not None:
                with self._connection:
                    self._connection.executemany(statement, rows)
        except (OverflowError, *_ERRORS) as error:
            self._mend(error)

    def _mend(self, error: Exception) -> None:
        """Recreate a damaged index; after any other error, or if that fails, continue without an index."""
        if self._path is None or not _is_damage(error):
            self._give_up(error)
            return
        self.close()
        try:
            self._path.unlink()
            self._connection = _connect(self._path)
        except (OSError, *_ERRORS) as worse:
            self._give_up(worse)
        else:
            log.warning("%s: index damaged (%s); recreated", self._path, error)

    def _give_up(self, error: Exception) -> None:
        log.warning("%s: cannot use the index (%s); listings read the archive's files instead", self._path, error)
        self.close()

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        # entries lost in a crash are read from the archive again
        connection.execute("pragma synchronous = off")
        for table in _TABLES:
            connection.execute(f"create table if not exists {table} {_COLUMNS}")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(error: Exception) -> bool:
    """Return True if the error indicates a corrupt database."""
    # the low byte of an extended result code is the primary code; content errors of the sqlite3 module have none
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return isinstance(error, _ERRORS) and code not in _TRANSIENT


def _sum(kind: str, state: FileState, value: bytes) -> str:
    return xxh3_checksum(repr((kind, state)).encode() + value)
