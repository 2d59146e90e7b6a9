"""Faults at the one place that reads bytes: errors, short reads, files that end, reads that never come back."""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cryofs.storage.byte_source import LocalFile

# What stands in for a system call: it gets the call itself, its number, and its arguments.
Fault = Callable[[Callable[..., Any], int, tuple[Any, ...]], Any]


class FaultyReads:
    """Takes the place of the system calls of `LocalFile`; counts them, and lets a fault decide on each."""

    def __init__(self, fault: Fault):
        self.reads = 0
        self._fault = fault
        self._lock = threading.Lock()

    def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            number, self.reads = self.reads, self.reads + 1
        return self._fault(call, number, arguments)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        data: bytes = self._call(os.pread, descriptor, size, offset)
        return data

    def preadv(self, descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            # storage with faults has nothing in memory
            raise BlockingIOError
        count: int = self._call(os.preadv, descriptor, buffers, offset)
        return count


def inject(patch: pytest.MonkeyPatch, fault: Fault) -> FaultyReads:
    """Have a fault decide on all reads from now on."""
    faulty = FaultyReads(fault)
    patch.setattr(LocalFile, "_pread", staticmethod(faulty.pread))
    patch.setattr(LocalFile, "_preadv", staticmethod(faulty.preadv))
    return faulty


def none(call: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> Any:
    """No fault: reads are only counted."""
    return call(*arguments)


def error_at(wanted: int, code: int = errno.EIO) -> Fault:
    """An error at one read; all others go well."""

    def fault(call: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> Any:
        if number == wanted:
            raise OSError(code, os.strerror(code))
        return call(*arguments)

    return fault


def short(call: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> Any:
    """Every read gives fewer bytes than asked for, but one at least, as a signal or a network may have it."""
    descriptor, wanted, offset = arguments
    if isinstance(wanted, int):
        return call(descriptor, min(wanted, max(1, wanted // 3 - number % 5)), offset)
    (buffer,) = wanted
    return call(descriptor, [buffer[: max(1, len(buffer) // 3 - number % 5)]], offset)


def end_at(wanted: int) -> Fault:
    """From one read on the file seems to have ended."""

    def fault(call: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> Any:
        if number < wanted:
            return call(*arguments)
        return b"" if isinstance(arguments[1], int) else 0

    return fault
