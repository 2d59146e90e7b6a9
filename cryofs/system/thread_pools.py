"""Thread pools with threads that are started in advance.

A pool of the standard library starts threads when tasks are submitted. If the system refuses a thread, submitting fails
but the task remains in the queue. A mount therefore starts all threads first, and fails if that is not possible.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

from cryofs.errors import MountError
from cryofs.system.resources import ROOT, task_limit

# Threads that read files, with a time limit; more are started if files hang.
READING_THREADS = 8
# The main thread of libfuse and two that answer requests, the threads that load, prepare, index, check gain references,
# watch the connection and wait for signals, and two processes of fusermount3.
_OTHER_TASKS = 11
# A limit of tasks above this number is not tried out.
_AMPLE_TASKS = 1024
_REMEDY = "reduce --jobs, or raise the limit (ulimit -u, TasksMax of a service, or pids.max of a control group)"


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
        raise MountError(f"cannot start {threads} threads for {name} ({error}); {_REMEDY}") from error
    return pool


def spare_threads(jobs: int, most: int) -> int:
    """Return how many threads a mount may start besides those that it needs, at most `most`.

    Parameters
    ----------
    jobs : int
        Threads of each pool.

    Raises
    ------
    MountError
        The system does not allow the threads that the mount needs.
    """
    needed = 2 * jobs + READING_THREADS + _OTHER_TASKS
    limit = task_limit(ROOT)
    if limit is None or limit > _AMPLE_TASKS:
        return most
    # the limit counts tasks of other processes too, so only trying shows what is left
    allowed = _startable(needed + most)
    if allowed < needed:
        raise MountError(f"a mount needs {needed} threads (the system allows {allowed} more); {_REMEDY}")
    return allowed - needed


def _startable(wanted: int) -> int:
    """Return how many threads the system allows besides those that run, at most `wanted`."""
    done = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        pass
    finally:
        done.set()
    for thread in threads:
        thread.join()
    return len(threads)
