"""Rename files with the flags of renameat2(2), where the file system supports them."""

import errno
from pathlib import Path

from cryofs.system import file_calls

_AT_FDCWD = -100
NO_REPLACE = 1
EXCHANGE = 2
# errors of kernels, file systems and C libraries that do not support the flags
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
    try:
        file_calls.move(_AT_FDCWD, str(path), _AT_FDCWD, str(target), flags)
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise
    return True
