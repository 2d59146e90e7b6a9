"""Rename files with the flags of renameat2(2), which Python does not offer."""

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
NO_REPLACE = 1
EXCHANGE = 2
# errors of kernels and file systems without the flags
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def rename(path: Path, target: Path, flags: int) -> bool:
    """Rename a file with flags.

    Returns
    -------
    bool
        False if the file system or the C library does not support the flags.

    Raises
    ------
    OSError
        The file cannot be renamed; FileExistsError if the name exists and `flags` is NO_REPLACE.
    """
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(path), None, str(target))


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call
