"""The indexer: a background thread that reads the metadata of all movies, so that listings are fast.

It loads the index of an earlier mount, walks the archive once, and adds the metadata of new files to the index. On
request it walks the archive again.

Threads: only the indexer's thread uses the index; the tables of metadata have locks.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cryofs.errors import CryofsError
from cryofs.storage.file_state import FileState, state_of
from cryofs.system import garbage
from cryofs.vfs.archive_root import Root
from cryofs.vfs.damage import Damage
from cryofs.vfs.index_db import Entry, Index
from cryofs.vfs.metadata_cache import Known

_STORE_EVERY = 1000
_LOG_SECONDS = 10.0
# Number of files between two pauses while requests arrive.
_AT_ONCE = 20
_PAUSE_SECONDS = 0.03

log = logging.getLogger("cryofs")


class Indexer:
    """Background thread that reads the metadata of an archive.

    Parameters
    ----------
    root : Root
        The archive.
    index_path : Path or None
        Path of the index file; None disables the index.
    tables : dict
        Tables of cached metadata, each with its value type, by key.
    table_of : callable
        Function that returns the key of the table for a file name, or None.
    is_busy : callable
        Function that returns True while requests arrive; the indexer then yields most of the processor time.
    loaded : Event
        Set, but clear while the index is being loaded.
    """

    def __init__(
        self,
        root: Root,
        index_path: Path | None,
        tables: dict[str, tuple[Known[Any], Any]],
        table_of: Callable[[str], str | None],
        is_busy: Callable[[], bool],
        loaded: threading.Event,
    ):
        self._root = root
        self._index_path = index_path
        self._tables = tables
        self._table_of = table_of
        self._is_busy = is_busy
        self._loaded = loaded
        self._wake = threading.Event()
        self._stopped = False
        self._kept: set[tuple[str, FileState]] = set()
        # damage from the index that this mount has not logged yet
        self._unlogged: set[tuple[str, FileState]] = set()
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._loaded.clear()
        self._thread.start()

    def look_again(self) -> None:
        """Request another walk of the archive, after the current one."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Stop the thread, and wait at most `seconds` for its end, because storage may block it indefinitely."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def is_alive(self) -> bool:
        """Return True if the thread is running."""
        return self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.closing(Index(self._index_path)) as index:
            self._attempt(self._recall, index)
            self._loaded.set()
            while not self._stopped:
                self._wake.clear()
                self._attempt(self._look, index)
                self._wake.wait()

    def _attempt(self, step: Callable[[Index], None], index: Index) -> None:
        """Run one step; log an unexpected error instead of ending the thread."""
        try:
            step(index)
        except Exception:
            log.exception("index: unexpected error; send SIGHUP to read the archive again")

    def _recall(self, index: Index) -> None:
        """Load the index of an earlier mount."""
        decoders = {table: msgspec.msgpack.Decoder(kind) for table, (_, kind) in self._tables.items()}
        with garbage.long_lived():
            for table, state, value in index.entries():
                if self._stopped:
                    return
                if table not in self._tables:
                    continue
                try:
                    facts = decoders[table].decode(value)
                except msgspec.MsgspecError:
                    continue  # written by another version; the file is read again
                self._tables[table][0].remember(state, facts)
                self._kept.add((table, state))
                if isinstance(facts, Damage):
                    self._unlogged.add((table, state))

    def _look(self, index: Index) -> None:
        """Read the metadata of all movies, and delete the entries of removed files."""
        started = logged = time.monotonic()
        seen: set[tuple[str, FileState]] = set()
        new: list[Entry] = []
        for number, (path, found) in enumerate(self._root.files_below(self._root.path)):
            if self._stopped:
                break
            if number % _AT_ONCE == 0 and self._is_busy():
                time.sleep(_PAUSE_SECONDS)
            table = self._table_of(path.name)
            if table is None:
                continue
            key = table, state_of(found)
            seen.add(key)
            is_new = key not in self._kept or key in self._unlogged
            if is_new and (value := self._learn(table, path, found)) is not None:
                new.append((*key, value))
                self._kept.add(key)
                self._unlogged.discard(key)
            if len(new) >= _STORE_EVERY:
                index.add(new)
                new.clear()
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                log.info("index: %d movies read, continuing", len(seen))
        index.add(new)
        if not self._stopped:
            gone = self._kept - seen
            index.remove(gone)
            self._kept -= gone
            log.info("index: %d movies read in %.1f s", len(seen), time.monotonic() - started)

    def _learn(self, table: str, path: Path, found: os.stat_result) -> bytes | None:
        """Return the encoded metadata of a file, or None if the file cannot be read or may still be changing."""
        known, _ = self._tables[table]
        try:
            value = known.get(path, found)
            return msgspec.msgpack.encode(value) if known.knows(state_of(found)) else None
        except (CryofsError, OSError, OverflowError):
            # opening the file reports the error; an OverflowError means file times that the index cannot store
            return None
