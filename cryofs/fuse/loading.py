"""Creation of the file system while the mount is already live.

Importing NumPy and all kinds of movies takes most of the startup time. Requests that arrive earlier wait.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from cryofs.errors import MountError, StuckError
from cryofs.system import deadlines, garbage
from cryofs.system.thread_pools import Pools

if TYPE_CHECKING:
    from cryofs.vfs.file_system import FileSystem

log = logging.getLogger("cryofs")


class Loading:
    """A file system that a thread creates.

    Parameters
    ----------
    make : callable
        Function that creates the file system.
    jobs : int
        Number of threads in each thread pool.
    """

    def __init__(self, make: "Callable[[], FileSystem]", jobs: int):
        self._make = make
        self._jobs = jobs
        self._made: FileSystem | None = None
        self._started: Future[FileSystem] = Future()

    def make(self) -> None:
        """Create the file system before the mount is live, and raise any error."""
        self._made = self._make()

    def start(self) -> None:
        """Start all threads; one of them creates the file system if `make` was not called.

        Raises
        ------
        MountError
            If the system cannot start the threads.
        """
        pools = Pools.started(self._jobs)
        threading.Thread(target=self._start, args=(pools,), name="loading", daemon=True).start()

    def _start(self, pools: Pools) -> None:
        try:
            with garbage.long_lived():
                files = self._made or self._make()
            files.start(pools)
        except Exception as error:
            log.exception("cannot open the archive, so all requests fail; unmount it")
            # the errno of the cause would describe the requested file: ENOENT would make files look removed
            failed = MountError(f"cannot open the archive ({error}); unmount it, and see the log")
            failed.__cause__ = error
            self._started.set_exception(failed)
        else:
            self._started.set_result(files)

    def files(self) -> "FileSystem":
        """Wait for the file system and return it.

        Raises
        ------
        MountError
            It could not be created.
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
        """Return the file system, or None if it has not started."""
        return self.files() if self._started.done() and not self._started.exception() else None
