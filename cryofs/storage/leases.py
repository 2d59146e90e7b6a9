"""Read leases: detect programs that have a file open for writing."""

import errno
import fcntl
import signal
from pathlib import Path

from cryofs.errors import ArchiveError


def check_no_writer(descriptor: int, path: Path) -> None:
    """Raise ArchiveError if a program on this machine has a file open for writing.

    The kernel refuses a read lease while a file has a writer. Some file systems do not support leases.
    """
    try:
        # a program that opens the file meanwhile causes a signal; the default signal would end this process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            text = f"{path}: open for writing in another program; adopt it once that program has closed it"
            raise ArchiveError(text) from error
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
