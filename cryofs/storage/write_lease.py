"""Write leases: the kernel's promise that no other program has a file open, and its notice when one opens it.

Leases cover the programs of this machine. A file system over a network has none, or grants them by rules of its own, so
they are not asked for there (`cryofs.system.mount_table.is_remote`).
"""

import errno
import fcntl
import signal

from cryofs.errors import ChangedError

_IN_USE = (errno.EAGAIN, errno.EBUSY)


def take(descriptor: int) -> bool:
    """Take a write lease on an open file, which ends when the file is closed.

    Returns
    -------
    bool
        True if the lease is held, False if the file system or the user cannot have one.

    Raises
    ------
    ChangedError
        Another program has the file open.
    """
    try:
        # the signal that announces another program; the default one would end this process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno in _IN_USE:
            raise ChangedError("another program has it open") from error
        return False
    return True


def is_held(descriptor: int) -> bool:
    """Return True if a lease is still held and no other program waits for its end."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_WRLCK


def release(descriptor: int) -> None:
    """End a lease before the file is closed, so that programs that wait to open it go on."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
