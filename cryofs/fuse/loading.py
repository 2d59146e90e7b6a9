"""The file system of a mount, made while the mount is live.

Importing NumPy and all kinds of movies takes most of the start. Requests that arrive in the meantime wait for it.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from cryofs.errors import StuckError
from cryofs.system import deadlines, garbage
from cryofs.system.thread_pools import Pools

if TYPE_CHECKING:
    from cryofs.vfs.file_system import FileSystem

log = logging.getLogger("cryofs")


class Loading:
    """A file system, made by a thread.

    Parameters
    ----------
    make : callable
        Returns the file system.
    jobs : int
        Threads of each of its pools.
    """

    def __init__(self, make: "Callable[[], FileSystem]", jobs: int):
        self._make = make
        self._jobs = jobs
        self._made: FileSystem | None = None
        self._started: Future[FileSystem] = Future()

    def make(self) -> None:
        """Make the file system before the mount is live; raise the errors of its making."""
        self._made = self._make()

    def start(self) -> None:
        """Start all threads, one of which makes the file system unless it was made.

        Raises
        ------
        MountError
            If the system refuses to start the threads.
        """
        pools = Pools.started(self._jobs)
        threading.Thread(target=self._start, args=(pools,), name="loading", daemon=True).start()

    def _start(self, pools: Pools) -> None:
        try:
            with garbage.imports():
                files = self._made or self._make()
            files.start(pools)
        except Exception as error:
            log.exception("the archive cannot be shown, so all requests fail; unmount it")
            self._started.set_exception(error)
        else:
            self._started.set_result(files)

    def files(self) -> "FileSystem":
        """Return the file system as soon as it has started; raise the error that prevented it.

        Raises
        ------
        StuckError
            It does not start before the deadline of this thread.
        """
        try:
            return self._started.result(deadlines.seconds_left())
        except TimeoutError:
            if self._started.done():
                return self._started.result()
            raise StuckError("the archive is still being loaded; retry, and check that its storage responds") from None

    def started(self) -> "FileSystem | None":
        """Return the file system if it has started."""
        return self.files() if self._started.done() and not self._started.exception() else None
