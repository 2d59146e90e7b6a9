"""Pools whose threads run before there is work for them.

A pool of the standard library starts a thread when a task comes. Where the system has no thread to give by then, the
task fails, and is kept by the pool all the same: so a mount has its threads from the beginning, or does not begin.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

from cryofs.errors import MountError


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool of so many threads, all of them started.

    Raises
    ------
    MountError
        The system does not give so many.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    # a thread that waits for all others takes no second task
    together = threading.Barrier(threads)
    try:
        for _ in range(threads):
            pool.submit(together.wait)
    except RuntimeError as error:
        together.abort()
        pool.shutdown(cancel_futures=True)
        raise MountError(
            f"the system gives no {threads} threads for {name} ({error}); mount with fewer --jobs, or raise the limit "
            "(ulimit -u, TasksMax of a service)"
        ) from error
    return pool
