"""Start the process from which workers are forked; it imports modules once and has no threads.

A copy of a process with threads could inherit a lock that no thread releases.
"""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver, resource_tracker

CONTEXT = multiprocessing.get_context("forkserver")


def prepare(modules: Sequence[str]) -> None:
    """Start the process from which workers are forked; it imports `modules` in the background.

    Raises
    ------
    OSError
        The process cannot be started, for example because the path of the temporary folder is too long for a socket.
    """
    CONTEXT.set_forkserver_preload(list(modules))
    with interrupts_held():
        forkserver.ensure_running()


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the end of the context, and block its signal in processes that are started in the context."""
    received: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number)) if in_main else None
    try:
        # otherwise the library would start this helper together with the first process, and unblock the signal
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
    if received:
        raise KeyboardInterrupt
