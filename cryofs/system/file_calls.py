"""System calls on files that Python does not offer, or not with all their flags."""

import ctypes
import errno
import functools
import os
from typing import Any

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
_AT_SYMLINK_NOFOLLOW = 0x100
_SYNC_FILE_RANGE_WRITE = 2
_NANOSECONDS = 10**9
_ARGUMENTS = {
    "utimensat": [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int],
    "futimens": [ctypes.c_int, ctypes.c_void_p],
    "fallocate": [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64],
    "sync_file_range": [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint],
    "renameat2": [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint],
}


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def set_times(folder: int, name: str, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Set the access and modification times of a name in an open folder, a link itself; None leaves a time as it is."""
    times = (_Timespec * 2)(*(_timespec(time) for time in (atime_ns, mtime_ns)))
    _check(_function("utimensat")(folder, os.fsencode(name), times, _AT_SYMLINK_NOFOLLOW), name)


def set_times_of(descriptor: int, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Set the access and modification times of an open file; None leaves a time as it is."""
    times = (_Timespec * 2)(*(_timespec(time) for time in (atime_ns, mtime_ns)))
    _check(_function("futimens")(descriptor, times))


def allocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    """Allocate, clear or remove bytes of an open file, as fallocate(2) does."""
    _check(_function("fallocate")(descriptor, mode, offset, size))


def begin_writeback(descriptor: int) -> None:
    """Begin to write all changed bytes of an open file to the disk; errors of the disk are left to the next sync."""
    _check(_function("sync_file_range")(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE))


def move(folder: int, name: str, target_folder: int, target: str, flags: int) -> None:
    """Rename a name of an open folder, as renameat2(2) does; OSError (EINVAL) if the file system lacks a flag."""
    call = _function("renameat2")
    _check(call(folder, os.fsencode(name), target_folder, os.fsencode(target), flags), name, target)


def _timespec(time_ns: int | None) -> _Timespec:
    return _Timespec(0, UTIME_OMIT) if time_ns is None else _Timespec(*divmod(time_ns, _NANOSECONDS))


def _check(result: int, name: str | None = None, target: str | None = None) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name, None, target)


@functools.cache
def _function(name: str) -> Any:
    """Return a function of the C library; OSError (ENOSYS) if the library lacks it."""
    try:
        found = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError) as error:
        raise OSError(errno.ENOSYS, f"{name} is missing in the C library") from error
    found.argtypes = _ARGUMENTS[name]
    return found
