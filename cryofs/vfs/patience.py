"""Waiting for storage, but not for ever.

A read of a disk or a network that hangs cannot be broken off. So it is done by a thread of its own, and whoever asked
stops waiting after a while. Until the read returns, nobody else waits for the same file: they hear of it at once.

Threads: any thread may call `run`. A thread that got stuck ends with its read, or with the process.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from cryofs.errors import StuckError

T = TypeVar("T")


class Patience:
    """Runs what may get stuck.

    Parameters
    ----------
    seconds : float
        How long anybody waits.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[_Task | None]] = []
        self._stuck: Counter[str] = Counter()

    def run(self, name: str, call: Callable[[], T], what: str = "", drop: Callable[[T], None] | None = None) -> T:
        """What a call gives that reads the file `name`; `what` is added to the name in messages.

        Parameters
        ----------
        drop : callable
            Gets what comes when nobody waits for it any more.

        Raises
        ------
        StuckError
            It takes too long, or one before it did and has not returned.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._stuck[name]:
                raise self._error(name + what)
            tasks = self._idle.pop() if self._idle else None
        if tasks is None:
            tasks = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(tasks,), name="reading", daemon=True).start()
        tasks.put((future, call))
        try:
            return future.result(self._seconds)
        except TimeoutError:
            if future.done():
                return future.result()
        with self._lock:
            self._stuck[name] += 1
        future.add_done_callback(lambda late: self._returned(name, late, drop))
        raise self._error(name + what)

    def end(self) -> None:
        """Have threads end that have nothing to do."""
        with self._lock:
            for tasks in self._idle:
                tasks.put(None)
            self._idle.clear()

    def _work(self, tasks: "queue.SimpleQueue[_Task | None]") -> None:
        while (task := tasks.get()) is not None:
            future, call = task
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever asked gets the error, whatever it is
                self._rest(tasks)
                future.set_exception(error)
            else:
                self._rest(tasks)
                future.set_result(result)
            del task, future, call

    def _rest(self, tasks: "queue.SimpleQueue[_Task | None]") -> None:
        """Be there for the next call before anybody can make it."""
        with self._lock:
            self._idle.append(tasks)

    def _returned(self, name: str, late: Future[T], drop: Callable[[T], None] | None) -> None:
        if drop is not None and late.exception() is None:
            drop(late.result())
        with self._lock:
            self._stuck[name] -= 1
            if not self._stuck[name]:
                del self._stuck[name]

    def _error(self, name: str) -> StuckError:
        return StuckError(
            f"{name}: its storage gave no answer within {self._seconds:g} s; see whether the archive can be reached, "
            "then read again"
        )


_Task = tuple[Future[Any], Callable[[], Any]]
