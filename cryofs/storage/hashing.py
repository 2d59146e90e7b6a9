"""Hashing whole files, several at a time."""

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
    """The run has ended; the file that is being hashed is given up."""


@dataclass(frozen=True)
class Hashed:
    """SHA-256 of a file, and the file that has it."""

    sha256: str
    found: os.stat_result


def hash_file(path: Path, on_bytes: OnBytes) -> Hashed:
    """Hash a file.

    Raises
    ------
    ChangedError
        It changed meanwhile, so this would be the checksum of no state of it.
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
    return ChangedError(f"{path}: changed while it was hashed; run the same command again once it is written")


def each(
    call: Callable[[_Item, OnBytes], _Result], items: Iterable[_Item], jobs: int, on_bytes: OnBytes
) -> Iterator[tuple[_Item, Future[_Result]]]:
    """Call a function with each item in `jobs` threads, and yield the outcomes in order.

    The function gets a callback for the bytes that it has read. If the caller stops early, for example on Ctrl-C, that
    callback ends the calls that are still running.
    """
    stopped = threading.Event()

    def tell(count: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        on_bytes(count)

    coming: deque[tuple[_Item, Future[_Result]]] = deque()
    with ThreadPoolExecutor(jobs, "hash") as pool:
        try:
            for item in items:
                coming.append((item, pool.submit(call, item, tell)))
                if len(coming) > 2 * jobs:
                    yield coming.popleft()
            yield from coming
        finally:
            stopped.set()
            for _, future in coming:
                future.cancel()
