"""Waiting for storage, but not for ever.

A read of a disk or a network that hangs cannot be broken off. So it is done by a thread of its own, and whoever asked
stops waiting after a while. Until the read returns, nobody else waits for the same file: they hear of it at once. Who
has to wait for several things in turn waits no longer for all of them.

Threads: any thread may call `run`. A thread that got stuck ends with its read, or with the process.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryofs.errors import StuckError

T = TypeVar("T")

# Files that may be stuck at the same time. So many do not hang by themselves: the archive cannot be reached.
_MOST_STUCK = 256
# Threads that may be; one file takes as many as had asked for it before the first of them was given up.
_MOST_LOST = 1024
# Part of its time that a call may wait for others; the rest is for what it makes of those that gave no answer.
_FOR_OTHERS = 0.9

log = logging.getLogger("cryofs")


@dataclass(eq=False)
class _Task:
    """Something to be done for one who waits; the lock guards what changes."""

    name: str
    call: Callable[[], Any]
    drop: Callable[[Any], None] | None
    until: float
    future: Future[Any] = field(default_factory=Future)
    is_given_up: bool = False
    is_done: bool = False


_Tasks = queue.SimpleQueue[_Task | None]


class Patience:
    """Runs what may get stuck.

    Parameters
    ----------
    seconds : float
        How long anybody waits, in all: a call waits for others within the time of whoever waits for it.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[_Tasks] = []
        self._stuck: Counter[str] = Counter()
        # threads that do what was given up, or drop what came of it
        self._lost = 0
        # until when the present call of a thread may wait for others
        self._own = threading.local()

    @contextlib.contextmanager
    def in_all(self) -> Iterator[None]:
        """What the thread waits for meanwhile takes no longer in all than one thing might."""
        before = self._until()
        self._own.until = min(before, time.monotonic() + self._seconds)
        try:
            yield
        finally:
            self._own.until = before

    def run(self, name: str, call: Callable[[], T], what: str = "", drop: Callable[[T], None] | None = None) -> T:
        """What a call gives that reads the file `name`; `what` is added to the name in messages.

        Parameters
        ----------
        name : str
            The same for all who read the file, whatever for.
        drop : callable
            Gets what comes when nobody waits for it any more.

        Raises
        ------
        StuckError
            It takes too long, or one before it did and has not returned, or very many others have not; or the time
            of whoever asked has passed.
        """
        now = time.monotonic()
        seconds = min(self._seconds, self._until() - now)
        task = _Task(name, call, drop, now + _FOR_OTHERS * seconds)
        with self._lock:
            # with no time left nothing is begun: nobody could tell whether it hangs
            if seconds <= 0 or self._is_stuck(name):
                raise self._error(name + what)
            tasks = self._idle.pop() if self._idle else None
        if tasks is None:
            tasks = _Tasks()
            threading.Thread(target=self._work, args=(tasks,), name="reading", daemon=True).start()
        tasks.put(task)
        try:
            result: T = task.future.result(seconds)
        except TimeoutError:
            if not self._give_up(task):
                # it has just come, or the error is that of the call
                return task.future.result()  # type: ignore[no-any-return]
            raise self._error(name + what) from None
        return result

    def end(self) -> None:
        """Have threads end that have nothing to do."""
        with self._lock:
            for tasks in self._idle:
                tasks.put(None)
            self._idle.clear()

    def _until(self) -> float:
        until: float = getattr(self._own, "until", math.inf)
        return until

    def _is_stuck(self, name: str) -> bool:
        return name in self._stuck or len(self._stuck) >= _MOST_STUCK or self._lost >= _MOST_LOST

    def _give_up(self, task: _Task) -> bool:
        """Wait no longer, unless it is done."""
        with self._lock:
            if not task.is_done:
                task.is_given_up = True
                self._stuck[task.name] += 1
                self._lost += 1
        return task.is_given_up

    def _work(self, tasks: _Tasks) -> None:
        while (task := tasks.get()) is not None:
            self._do(task, tasks)
            # a thread that waits for its next task holds nothing of the last one
            del task

    def _do(self, task: _Task, tasks: _Tasks) -> None:
        self._own.until = task.until
        try:
            result = task.call()
        except BaseException as error:  # noqa: BLE001 - whoever asked gets the error, whatever it is
            if self._is_in_time(task, tasks):
                task.future.set_exception(error)
                return
        else:
            if self._is_in_time(task, tasks):
                task.future.set_result(result)
                return
            _drop(task, result)
        with self._lock:
            self._lost -= 1
            self._idle.append(tasks)

    def _is_in_time(self, task: _Task, tasks: _Tasks) -> bool:
        """Whether somebody waits for a task that is done; the thread is there for the next one before that one knows.

        Otherwise the file is no longer stuck; but dropping what came may take long, so the thread is not there yet.
        """
        with self._lock:
            task.is_done = True
            if not task.is_given_up:
                self._idle.append(tasks)
                return True
            self._stuck[task.name] -= 1
            if not self._stuck[task.name]:
                del self._stuck[task.name]
        return False

    def _error(self, name: str) -> StuckError:
        return StuckError(
            f"{name}: its storage gave no answer within {self._seconds:g} s; see whether the archive can be reached, "
            "then read again"
        )


def _drop(task: _Task, result: Any) -> None:
    """Drop what came too late."""
    try:
        if task.drop is not None:
            task.drop(result)
    except Exception as error:  # noqa: BLE001 - nobody is there to get it
        log.warning("%s: what was read too late could not be released (%s)", task.name, error)


class Impatience:
    """Runs at once what does not get stuck itself; to hand it to another thread would cost more than what it does.

    Parameters
    ----------
    patience : Patience
        With which it waits for what may.
    """

    def __init__(self, patience: Patience):
        self._patience = patience

    def run(self, name: str, call: Callable[[], T], what: str = "", drop: Callable[[T], None] | None = None) -> T:
        """What a call gives; all else as for those who wait."""
        with self._patience.in_all():
            return call()
