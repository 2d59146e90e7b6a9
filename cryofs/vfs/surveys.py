"""Surveys: reading whole files once, because their sizes and seek points are known only afterwards.

Requests wait for a survey as long as it takes, or until their deadline, if the kernel sets one; the survey continues.
Storage that does not respond ends it, because each of its reads has a time limit. The results are kept in the index of
the mount.

Threads: safe to call from any thread; each file is surveyed by one thread, for which all others wait.
"""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from cryofs.errors import ChangedError, FormatError, StuckError
from cryofs.movies.provider import Provider
from cryofs.movies.registry import AnyProvider
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.file_state import FileState, state_of
from cryofs.system import deadlines
from cryofs.vfs.archive_root import Root
from cryofs.vfs.damage import Damage, is_settled, or_damage
from cryofs.vfs.facts import Facts
from cryofs.vfs.index_db import Index
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.nodes import Node

# A survey uses all cores if the format of the file allows it, so few at a time are fastest.
_AT_ONCE = 2

log = logging.getLogger("cryofs")


class LimitedSource(ByteSource):
    """A byte source that limits the time of each read of a file.

    Parameters
    ----------
    file : LocalFile
        The file, which is not closed with this source.
    stopped : Event or None
        Set when the mount has ended; reads then fail.
    """

    def __init__(self, file: LocalFile, io: IoExecutor, stopped: threading.Event | None = None):
        self.name = file.name
        self.size = file.size
        self.identity = file.identity
        self._file = file
        self._io = io
        self._stopped = stopped

    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file."""
        if self._stopped is not None and self._stopped.is_set():
            raise ChangedError(f"{self.name}: the mount has ended; open the file in another mount")
        # data in the page cache is read without another thread
        if (found := self._file.read_cached(size, offset)) is not None:
            return found.tobytes()
        return self._io.run(self.name, partial(self._file.read, size, offset))

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill contiguous memory from `offset`; return the number of bytes, smaller only at the end of the file."""
        # a read that was given up may end later, so it has memory of its own
        data = self.read(len(memory), offset)
        memory[: len(data)] = data
        return len(data)

    def is_unchanged(self) -> bool:
        """Return True if the file has not been written to since it was opened."""
        return self._file.is_unchanged()

    def close(self) -> None:
        """Do nothing, because the file belongs to the caller."""


class Surveys:
    """The surveys of a mount.

    Parameters
    ----------
    index_path : Path or None
        File of the index.
    """

    def __init__(self, root: Root, io: IoExecutor, facts: Facts, index_path: Path | None):
        self._root = root
        self._io = io
        self._facts = facts
        self._index_path = index_path
        self._lock = threading.Lock()
        self._running: dict[FileState, Future[Any]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = threading.Event()

    def limited(self, source: LocalFile) -> ByteSource:
        """Return a source of the same bytes that limits the time of each read."""
        return LimitedSource(source, self._io)

    def complete(self, node: Node) -> bool:
        """Survey the file of a node if the size of its movie is not known yet; return True if it was surveyed."""
        kind = node.kind
        if not isinstance(kind, Provider) or not kind.is_surveyed or node.stored is None:
            return False
        metadata = self._facts.metadata(kind, node.path, node.stored)
        if metadata is None or isinstance(metadata, Damage) or not kind.needs_survey(metadata):
            return False
        self._wait(kind, node.path, state_of(node.stored))
        return True

    def carry_out(self, node: Node, state: FileState) -> None:
        """Survey the file of a node, whose state is given, so that it can be opened.

        Raises
        ------
        FormatError
            The file is damaged.
        ChangedError
            The file is not in this state any more.
        """
        if not isinstance(node.kind, Provider) or not node.kind.is_surveyed:
            return  # another file has the name by now
        metadata = self._wait(node.kind, node.path, state)
        if isinstance(metadata, Damage):
            raise FormatError(f"{self._root.name_of(node.path)}: {metadata.reason}")

    def stop(self) -> None:
        """End all surveys."""
        self._stopped.set()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _wait(self, kind: AnyProvider, path: Path, state: FileState) -> Any:
        """Return the metadata of a file after its survey."""
        with self._lock:
            running = self._running.get(state)
            if running is None:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(_AT_ONCE, "survey")
                running = self._running[state] = self._pool.submit(self._survey, kind, path, state)
        try:
            return running.result(deadlines.seconds_left())
        except TimeoutError:
            if running.done():
                return running.result()
            name = self._root.name_of(path)
            raise StuckError(
                f"{name}: still being unpacked for the first time, longer than this kernel gives a request; retry later"
            ) from None

    def _survey(self, kind: AnyProvider, path: Path, state: FileState) -> Any:
        try:
            with self._root.open(path) as source:
                if source.identity != state:
                    raise ChangedError(f"{source.name}: replaced while it was being opened; open it again")
                index = self._recall(kind, state)
                if index is None:
                    index = self._read(kind, source)
                    metadata = self._facts.learn(kind, source.stat, source.name, index)
                    if is_settled(source.stat) or not isinstance(index, Damage):
                        self._keep(kind, state, metadata, index)
                    return metadata
                return self._facts.learn(kind, source.stat, source.name, index)
        finally:
            with self._lock:
                del self._running[state]

    def _read(self, kind: AnyProvider, source: LocalFile) -> Any:
        started = time.monotonic()
        limited = LimitedSource(source, self._io, self._stopped)
        index = or_damage(lambda _: kind.survey(limited))(source)
        if not source.is_unchanged():
            raise ChangedError(f"{source.name}: changed while it was read; open it again")
        log.info("%s: unpacked once for its size and index in %.1f s", source.name, time.monotonic() - started)
        return index

    def _recall(self, kind: AnyProvider, state: FileState) -> Any:
        """Return the result of a survey in an earlier mount, or None."""
        if self._index_path is None:
            return None
        with closing(Index(self._index_path)) as index:
            value = index.survey(self._facts.key(kind), state)
        try:
            return None if value is None else msgspec.msgpack.decode(value, type=kind.index_type | Damage)
        except msgspec.MsgspecError:
            return None  # written by another version

    def _keep(self, kind: AnyProvider, state: FileState, metadata: Any, index: Any) -> None:
        if self._index_path is not None:
            encode = msgspec.msgpack.encode
            with closing(Index(self._index_path)) as kept:
                kept.add_survey((self._facts.key(kind), state, encode(metadata)), encode(index))
