"""Cache of the metadata of movies, which determine their names and attributes.

Threads: thread-safe; each table has a lock.
"""

import contextlib
import functools
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryofs.errors import CryofsError, FormatError
from cryofs.movies import registry
from cryofs.movies.provider import ShowOptions
from cryofs.movies.registry import AnyProvider
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.file_state import FileState, state_of
from cryofs.vfs.archive_root import Root
from cryofs.vfs.damage import Damage, damage_of, is_settled, or_damage
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.metadata_cache import Known
from cryofs.vfs.record_batches import RecordBatches

_KNOWN_FILES = 1 << 18
# Indexes are large: each holds the offsets of all frames.
_KNOWN_INDEXES = 64
# Threads that read metadata for a listing. On fast storage they mostly parse, and more threads would compete for the
# interpreter lock.
_READERS = 2
_READERS_OF_SLOW_STORAGE = 16
_SLOW_READ_SECONDS = 0.001


class UnsurveyedError(Exception):
    """Raised if a file must be read as a whole before it can be opened; carries its name and state."""

    def __init__(self, name: str, state: FileState):
        super().__init__(name)
        self.state = state


class Facts:
    """Cached metadata of the files of an archive, in one table for each kind of movie.

    Damage is also cached as a value. Only transient errors and timeouts of storage are raised.
    """

    def __init__(self, root: Root, io: IoExecutor, options: ShowOptions):
        self._root = root
        self._io = io
        self._readers = _READERS
        self.batches = RecordBatches()
        # clear while the index is being loaded
        self.index_loaded = threading.Event()
        self.index_loaded.set()
        self._tables: dict[str, Known[Any]] = {}
        self._indexes: dict[str, Known[Any]] = {}
        self._types: dict[str, Any] = {}
        self._table_by_kinds: dict[tuple[AnyProvider, ...], str | None] = {}
        self._keys: dict[str, str] = {}
        for provider in registry.PROVIDERS:
            if provider.metadata_type is None or provider.table in self._tables:
                continue
            index = Known(root, io, provider.read_index, _KNOWN_INDEXES)
            probe = functools.partial(provider.probe, read_index=index.get_open, options=options)
            self._indexes[provider.table] = index
            self._tables[provider.table] = Known(root, io, or_damage(probe, provider.lists_damaged), _KNOWN_FILES)
            self._types[provider.table] = provider.metadata_type | Damage | None
            self._keys[provider.table] = provider.metadata_key(options)

    def metadata(self, provider: AnyProvider, path: Path, found: os.stat_result) -> Any:
        """Return the metadata of a file as a kind, `Damage` if it is damaged, or None if it is not of that kind."""
        if not stat.S_ISREG(found.st_mode):
            return None
        known = self._tables[provider.table]
        if self.batches.is_used and not known.knows(state_of(found)):
            self._read_batch(path)
        try:
            return known.get(path, found)
        except OSError as error:
            if (damage := damage_of(error)) is None:
                raise
            known.note(damage, found, self._root.name_of(path))
            return damage

    def unread(self, files: Iterable[tuple[str, os.stat_result]]) -> list[str]:
        """Return the names of files whose metadata a listing needs and that are not known."""
        is_file, table_of, tables = stat.S_ISREG, self._table_of, self._tables
        return [
            name
            for name, found in files
            if (table := table_of(name)) is not None
            and is_file(found.st_mode)
            and not tables[table].knows(state_of(found))
        ]

    def read_ahead(self, folder: Path, names: Iterable[str]) -> None:
        """Read the metadata of some files of a folder, several files at a time.

        Errors are ignored here; the next request for the file raises them.
        """
        tables = ((self._table_of(name), name) for name in names)
        unknown = deque((self._tables[table], folder / name) for table, name in tables if table is not None)

        def read() -> None:
            while unknown:
                with contextlib.suppress(IndexError, CryofsError, OSError):
                    known, path = unknown.popleft()
                    known.read_at_once(path)

        if (count := len(unknown)) > 1:
            began = time.monotonic()
            self._io.run_together(f"{self._root.name_of(folder)}, its movies", read, min(self._readers, count))
            is_slow = time.monotonic() - began > _SLOW_READ_SECONDS * count
            self._readers = _READERS_OF_SLOW_STORAGE if is_slow else _READERS

    def _read_batch(self, path: Path) -> None:
        """Read the metadata of a file and of those that a program is likely to request next."""
        if names := self.batches.after(path):
            self.read_ahead(path.parent, self.unread(self._root.attributes(path.parent, names)))

    def readable(self, provider: AnyProvider, path: Path) -> Any:
        """Return the metadata of a file as a kind; raise FormatError if the file is damaged."""
        metadata = self._tables[provider.table].get(path, self._root.lstat(path))
        if isinstance(metadata, Damage):
            raise FormatError(f"{self._root.name_of(path)}: {metadata.reason}")
        return metadata

    def index(self, provider: AnyProvider, source: LocalFile) -> Any:
        """Return the index of an open file; raise UnsurveyedError if a survey has to make it first."""
        known = self._indexes[provider.table]
        if provider.is_surveyed and not known.knows(source.identity):
            raise UnsurveyedError(source.name, source.identity)
        return known.get_open(source)

    def key(self, provider: AnyProvider) -> str:
        """Return the key of a kind in the index of the mount."""
        return self._keys[provider.table]

    def learn(self, provider: AnyProvider, found: os.stat_result, name: str, index: Any) -> Any:
        """Keep the result of a survey, an index or `Damage`; return the metadata of the file."""
        metadata = index if isinstance(index, Damage) else provider.surveyed(index)
        self._tables[provider.table].note(metadata, found, name)
        if is_settled(found) or not isinstance(index, Damage):
            self._tables[provider.table].remember(state_of(found), metadata)
        if not isinstance(index, Damage):
            self._indexes[provider.table].remember(state_of(found), index)
        return metadata

    def damaged(self) -> list[str]:
        """Return a line with name, problem and remedy for each damaged file found since mounting."""
        return [line for known in self._tables.values() for line in known.damaged()]

    def surveyed(self) -> dict[str, tuple[Known[Any], Any]]:
        """Return the tables that the index stores, each with its value type, by their keys in the index."""
        return {self._keys[table]: (known, self._types[table]) for table, known in self._tables.items()}

    def table_of(self, name: str) -> str | None:
        """Return the index key of the table for files of this name, or None."""
        table = self._table_of(name)
        return None if table is None else self._keys[table]

    def _table_of(self, name: str) -> str | None:
        kinds = registry.providers_of(name)
        try:
            return self._table_by_kinds[kinds]
        except KeyError:
            table = next((one.table for one in kinds if one.table in self._tables), None)
            return self._table_by_kinds.setdefault(kinds, table)
