"""Leases: what the kernel knows of other programs that have a file open."""

import errno
import fcntl
import signal
from pathlib import Path

from cryofs.errors import ArchiveError


def check_no_writer(descriptor: int, path: Path) -> None:
    """Raise ArchiveError if a program of this machine has a file open for writing.

    The kernel grants no read lease while a file has a writer. Not every file system has leases.
    """
    try:
        # a program that opens the file at this very moment is announced by a signal, which must not end this one
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            text = f"{path}: a program has it open for writing; adopt it once that is done"
            raise ArchiveError(text) from error
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
