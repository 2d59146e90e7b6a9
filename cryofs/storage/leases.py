"""Use leases of the kernel to detect other programs that have a file open, or that open it later.

Leases detect only programs on this machine. Network file systems do not support leases, or grant them by different
rules, so callers do not request leases there (`cryofs.system.mount_table.is_remote`).
"""

import errno
import fcntl
import os
import signal
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cryofs.errors import ArchiveError, ChangedError
from cryofs.storage.file_state import FileState, is_still, state_of
from cryofs.storage.steps import Use

# A program that found the name of a file just before it was hidden asks for the lease within this time.
_OPENING_SECONDS = 0.02
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


def _has_writer(descriptor: int) -> bool:
    """Return True if a program waits to open a leased file for writing; one that will only read does not matter."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK


def release(descriptor: int) -> None:
    """End a lease before the file is closed, so that programs that wait to open the file can continue."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _lease(descriptor: int, kind: int) -> None:
    # the kernel sends a signal when a program opens the file; its default action would end this process
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, kind)


class LeaseUsers:
    """Users of a file, as far as a lease shows them: `cryofs.storage.steps.Users` without a mount. A context manager.

    Parameters
    ----------
    state : FileState or None
        State in which the file was read; None for its state now.
    covers : bool
        Whether leases cover all programs that can open the file.

    Raises
    ------
    ChangedError
        A program has the file open, or it is missing or not a regular file.
    """

    knows_all = False

    def __init__(self, path: Path, state: FileState | None = None, *, covers: bool):
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise ChangedError(f"{path}: cannot be opened ({error.strerror}); retry later") from error
        try:
            found = os.fstat(self._descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ChangedError(f"{path}: no longer a regular file")
            self._state = state or state_of(found)
            try:
                self._is_leased = covers and take_write_lease(self._descriptor)
            except ChangedError as error:
                raise ChangedError(f"{path}: {error}; retry once that program has closed the file") from error
        except BaseException:
            os.close(self._descriptor)
            raise

    def check(self) -> None:
        """Raise ChangedError if the file changed, was replaced, or is being opened."""
        if state_of(os.fstat(self._descriptor)) != self._state or not is_still(self._path, self._state):
            raise ChangedError(f"{self._path}: changed or replaced since it was read; retry later")
        if self._is_leased and _has_writer(self._descriptor):
            raise ChangedError(f"{self._path}: opened by another program; retry later")

    def switch(self) -> None:
        """Do nothing: programs that read the file continue to do so."""

    def use(self) -> Use:
        """Return whether a program has the file open for writing, or began to open it before it lost its name."""
        if not self._is_leased:
            return Use.UNKNOWN
        time.sleep(_OPENING_SECONDS)
        return Use.IN_USE if _has_writer(self._descriptor) else Use.FREE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # this ends the lease, so programs that wait to open the file continue
        os.close(self._descriptor)
