"""Use leases of the kernel to detect other programs that have a file open, or that open it later.

Leases detect only programs on this machine. Network file systems do not support leases, or grant them by different
rules, so callers do not request leases there (`cryofs.system.mount_table.is_remote`).
"""

import errno
import fcntl
import signal
from pathlib import Path

from cryofs.errors import ArchiveError, ChangedError

_IN_USE = (errno.EAGAIN, errno.EBUSY)


def check_no_writer(descriptor: int, path: Path) -> None:
    """Raise ArchiveError if a program on this machine has a file open for writing.

    The kernel refuses a read lease while a file is open for writing. On file systems without leases, no check is made.
    """
    try:
        _lease(descriptor, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            text = f"{path}: open for writing in another program; retry once that program has closed the file"
            raise ArchiveError(text) from error
    else:
        release(descriptor)


def take_write_lease(descriptor: int) -> bool:
    """Take a write lease on an open file, which ends when the file is closed.

    Returns
    -------
    bool
        True if the lease is held, False if the file system or the permissions of the user do not allow a lease.

    Raises
    ------
    ChangedError
        Another program has the file open.
    """
    try:
        _lease(descriptor, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno in _IN_USE:
            raise ChangedError("open in another program") from error
        return False
    return True


def is_held(descriptor: int) -> bool:
    """Return True if a write lease is still held and no other program waits to open the file."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_WRLCK


def release(descriptor: int) -> None:
    """End a lease before the file is closed, so that programs that wait to open the file can continue."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _lease(descriptor: int, kind: int) -> None:
    # the kernel sends a signal when a program opens the file; its default action would end this process
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, kind)
