"""Hash whole files, several at a time."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryofs.errors import ChangedError
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256

OnBytes = Callable[[int], object]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _StoppedError(Exception):
    """The caller has stopped; abort hashing of the current file."""


@dataclass(frozen=True)
class Hashed:
    """SHA-256 of a file, and the stat result of the hashed file."""

    sha256: str
    found: os.stat_result


def hash_file(path: Path, on_bytes: OnBytes) -> Hashed:
    """Return the SHA-256 of a file.

    Raises
    ------
    ChangedError
        If the file changed while it was hashed.
    """
    with LocalFile.open(path) as source:
        try:
            sha256 = file_sha256(source, on_bytes)
        except ChangedError as error:
            raise _changed(path) from error
        if not source.is_unchanged():
            raise _changed(path)
        return Hashed(sha256, source.stat)


def _changed(path: Path) -> ChangedError:
    return ChangedError(f"{path}: changed while it was hashed; rerun the command once the file is complete")


def each(
    call: Callable[[_Item, OnBytes], _Result], items: Iterable[_Item], jobs: int, on_bytes: OnBytes
) -> Iterator[tuple[_Item, Future[_Result]]]:
    """Call a function with each item in `jobs` threads, and yield the futures in order.

    The function receives a callback for the number of bytes read. If the caller stops early, for example on Ctrl-C,
    this callback aborts running calls.
    """
    stopped = threading.Event()

    def report(count: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        on_bytes(count)

    pending: deque[tuple[_Item, Future[_Result]]] = deque()
    with ThreadPoolExecutor(jobs, "hash") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(call, item, report)))
                if len(pending) > 2 * jobs:
                    yield pending.popleft()
            yield from pending
        finally:
            stopped.set()
            for _, future in pending:
                future.cancel()
