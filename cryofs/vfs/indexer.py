"""The surveyor: a thread that learns of all movies of an archive in the background, so that listings need not wait.

It begins with what the index of an earlier mount knows, then looks at every file once, reads the records that are new,
and keeps them in the index. It does so again when it is asked to.

Threads: the index and the figures belong to the surveyor's thread; what it learns goes into tables with locks.
"""

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from cryofs.errors import CryofsError
from cryofs.storage.file_state import FileState, state_of
from cryofs.vfs.archive_root import Root
from cryofs.vfs.index_db import Entry, Index
from cryofs.vfs.metadata_cache import Known

_KEEP_EVERY = 1000
_TELL_SECONDS = 10.0
# While others have requests: so many files, then a pause.
_AT_ONCE = 20
_STEP_ASIDE_SECONDS = 0.01

log = logging.getLogger("cryofs")


class Surveyor:
    """Looks at an archive until it is stopped.

    Parameters
    ----------
    root : Root
        The archive.
    index_path : Path or None
        File of the index.
    tables : dict
        By the end of a file's name: what is to be known of such files, and the type of it.
    is_asked : callable
        Whether others have requests, for which this thread then leaves most of the time.
    """

    def __init__(
        self,
        root: Root,
        index_path: Path | None,
        tables: dict[str, tuple[Known[Any], Any]],
        is_asked: Callable[[], bool],
    ):
        self._root = root
        self._index_path = index_path
        self._tables = tables
        self._is_asked = is_asked
        self._wake = threading.Event()
        self._stopped = False
        self._kept: set[tuple[str, FileState]] = set()
        self._thread = threading.Thread(target=self._run, name="surveyor", daemon=True)

    def start(self) -> None:
        """Begin to look at the archive."""
        self._thread.start()

    def look_again(self) -> None:
        """Look at all files once more, when the present look has ended."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """End, and wait for that, but not longer than this: storage that hangs may keep the thread for ever."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        with contextlib.closing(Index(self._index_path)) as index:
            self._attempt(self._recall, index)
            while not self._stopped:
                self._wake.clear()
                self._attempt(self._look, index)
                self._wake.wait()

    def _attempt(self, step: Callable[[Index], None], index: Index) -> None:
        """Do one step; whatever ends it, the thread is there for the next one."""
        try:
            step(index)
        except Exception:
            log.exception("index: unexpected error; the archive is looked at again after SIGHUP")

    def _recall(self, index: Index) -> None:
        """Take over what an earlier mount learned."""
        for suffix, state, value in index.entries():
            known, kind = self._tables.get(suffix, (None, None))
            if known is not None:
                try:
                    known.remember(state, msgspec.msgpack.decode(value, type=kind))
                except msgspec.MsgspecError:
                    continue  # of another version; it is read again
                self._kept.add((suffix, state))
            if self._stopped:
                return

    def _look(self, index: Index) -> None:
        """Learn of every movie, and forget what is gone from the index."""
        started = told = time.monotonic()
        seen: set[tuple[str, FileState]] = set()
        new: list[Entry] = []
        for number, (path, found) in enumerate(_files(self._root)):
            if self._stopped:
                break
            if number % _AT_ONCE == 0 and self._is_asked():
                time.sleep(_STEP_ASIDE_SECONDS)
            suffix = next((suffix for suffix in self._tables if path.name.endswith(suffix)), None)
            if suffix is None:
                continue
            key = suffix, state_of(found)
            seen.add(key)
            if key not in self._kept and (value := self._learn(suffix, path, found)) is not None:
                new.append((*key, value))
                self._kept.add(key)
            if len(new) >= _KEEP_EVERY:
                index.add(new)
                new.clear()
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                log.info("index: %d movies so far", len(seen))
        index.add(new)
        if not self._stopped:
            gone = self._kept - seen
            index.remove(gone)
            self._kept -= gone
            log.info("index: %d movies, in %.1f s", len(seen), time.monotonic() - started)

    def _learn(self, suffix: str, path: Path, found: os.stat_result) -> bytes | None:
        known, _ = self._tables[suffix]
        try:
            return msgspec.msgpack.encode(known.get(path, found))
        except (CryofsError, OSError, OverflowError):
            # whoever opens a damaged file hears what is wrong; times of other ages cannot be kept
            return None


def _files(root: Root) -> Iterator[tuple[Path, os.stat_result]]:
    """All regular files of an archive; a folder that cannot be read holds none."""
    folders = [root.path]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(OSError):
            for name, found in root.entries(folder):
                if stat.S_ISDIR(found.st_mode):
                    folders.append(folder / name)
                elif stat.S_ISREG(found.st_mode):
                    yield folder / name, found
