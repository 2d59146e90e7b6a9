"""System calls on files that Python does not offer, or not with all their flags."""

import ctypes
import functools
import os
from typing import Any

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
_AT_SYMLINK_NOFOLLOW = 0x100
_NANOSECONDS = 10**9


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def set_times(folder: int, name: str, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Set the access and modification times of a name in an open folder, a link itself; None leaves a time as it is."""
    times = (_Timespec * 2)(*(_timespec(time) for time in (atime_ns, mtime_ns)))
    _check(_c_library().utimensat(folder, os.fsencode(name), times, _AT_SYMLINK_NOFOLLOW), name)


def set_times_of(descriptor: int, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Set the access and modification times of an open file; None leaves a time as it is."""
    times = (_Timespec * 2)(*(_timespec(time) for time in (atime_ns, mtime_ns)))
    _check(_c_library().futimens(descriptor, times))


def allocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    """Allocate, clear or remove bytes of an open file, as fallocate(2) does."""
    _check(_c_library().fallocate(descriptor, mode, offset, size))


def move(folder: int, name: str, target_folder: int, target: str, flags: int) -> None:
    """Rename a name of an open folder, as renameat2(2) does; OSError (EINVAL) if the file system lacks a flag."""
    call = _c_library().renameat2
    _check(call(folder, os.fsencode(name), target_folder, os.fsencode(target), flags), name, target)


def _timespec(time_ns: int | None) -> _Timespec:
    return _Timespec(0, UTIME_OMIT) if time_ns is None else _Timespec(*divmod(time_ns, _NANOSECONDS))


def _check(result: int, name: str | None = None, target: str | None = None) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name, None, target)


@functools.cache
def _c_library() -> Any:
    found = ctypes.CDLL(None, use_errno=True)
    found.utimensat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
    found.futimens.argtypes = [ctypes.c_int, ctypes.c_void_p]
    found.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    found.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return found
