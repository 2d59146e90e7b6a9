"""Thread pools with threads that are started in advance.

A pool of the standard library starts threads when tasks are submitted. If the system refuses a thread, submitting fails
but the task remains in the queue. A mount therefore starts all threads first, and fails if that is not possible.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

from cryofs.errors import MountError


class Pools(NamedTuple):
    """The thread pools of a mount: one decodes frames for waiting requests, the other decodes ahead."""

    decoding: ThreadPoolExecutor
    read_ahead: ThreadPoolExecutor

    @classmethod
    def started(cls, threads: int) -> Self:
        """Return two pools with `threads` running threads each; raise the errors of `started_pool`."""
        return cls(started_pool(threads, "decode"), started_pool(threads, "read-ahead"))


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool with `threads` running threads.

    Raises
    ------
    MountError
        The system cannot start this number of threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    # each task blocks until all threads run, so that every task starts a thread
    together = threading.Barrier(threads)
    try:
        for _ in range(threads):
            pool.submit(together.wait)
    except RuntimeError as error:
        together.abort()
        pool.shutdown(cancel_futures=True)
        raise MountError(
            f"cannot start {threads} threads for {name} ({error}); reduce --jobs, or raise the limit "
            "(ulimit -u, or TasksMax of a service)"
        ) from error
    return pool
