"""Write leases: the kernel guarantees that no other program has a file open, and signals when one opens it.

Leases cover programs on this machine. Network file systems do not support them, or grant them by different rules, so
callers do not request them there (`cryofs.system.mount_table.is_remote`).
"""

import errno
import fcntl
import signal

from cryofs.errors import ChangedError

_IN_USE = (errno.EAGAIN, errno.EBUSY)


def take(descriptor: int) -> bool:
    """Take a write lease on an open file; closing the file ends it.

    Returns
    -------
    bool
        True if the lease is held, False if the file system does not support it or the user is not permitted.

    Raises
    ------
    ChangedError
        If another program has the file open.
    """
    try:
        # the signal sent when another program opens the file; the default signal would end this process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno in _IN_USE:
            raise ChangedError("open in another program") from error
        return False
    return True


def is_held(descriptor: int) -> bool:
    """Return True if the lease is still held and no other program waits for it."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_WRLCK


def release(descriptor: int) -> None:
    """Release the lease before the file is closed, so that waiting programs can open it."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
