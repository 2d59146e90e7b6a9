"""Thread pools whose threads are started in advance.

A pool of the standard library starts a thread when a task is submitted. If the system refuses the thread, the task
fails but stays in the queue of the pool. A mount therefore starts all threads first, or fails to start.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

from cryofs.errors import MountError


class Pools(NamedTuple):
    """The pools of a mount: one decodes what a request waits for, one decodes in advance."""

    decoding: ThreadPoolExecutor
    read_ahead: ThreadPoolExecutor

    @classmethod
    def started(cls, threads: int) -> Self:
        """Return two pools of `threads` running threads each; raise the errors of `started_pool`."""
        return cls(started_pool(threads, "decode"), started_pool(threads, "read-ahead"))


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of `threads` running threads.

    Raises
    ------
    MountError
        If the system cannot start this number of threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    # each task blocks until all threads run, so no thread takes two tasks
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
