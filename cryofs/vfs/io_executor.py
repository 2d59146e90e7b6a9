"""Run storage I/O with a time limit.

A read that hangs in a disk or network cannot be interrupted. A separate thread therefore runs it, and the caller stops
waiting after the time limit. Until the read returns, further requests for the same file fail immediately. A caller that
waits for several reads in turn waits for all of them no longer than the time limit of one.

If the system refuses further threads, calls wait for an existing one. A nested call then runs in the thread of the
outer call, because both would wait for each other otherwise.

Threads: thread-safe. A thread with a hanging read ends when the read returns, or with the process.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryofs.errors import StuckError
from cryofs.system import deadlines

T = TypeVar("T")

# Number of hanging files at which the whole archive counts as unreachable.
_MOST_STUCK = 256
# Maximum number of hanging threads; a file may block several that requested it before the first timeout.
_MOST_LOST = 1024
# Fraction of its time limit that a call may wait for nested calls; it needs the rest to respond without those that time
# out.
_FOR_OTHERS = 0.9
# If so many files hang, a request with a deadline waits only for a part of the time for another one: the kernel counts
# the time since the request was made, and it may have waited for the threads that wait for these files.
_MANY_STUCK = 4
_SHARE_IF_MANY = 1 / 8

log = logging.getLogger("cryofs")


@dataclass(eq=False)
class _Task:
    """A call and its result; the lock of the executor guards the mutable fields."""

    name: str
    call: Callable[[], Any]
    drop: Callable[[Any], None] | None
    until: float
    future: Future[Any] = field(default_factory=Future)
    is_given_up: bool = False
    is_done: bool = False


_Tasks = queue.SimpleQueue[_Task | None]


class IoExecutor:
    """Executor with a time limit, for calls that may hang.

    Parameters
    ----------
    seconds : float
        Time limit in seconds. Nested calls share the limit of the outer call.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[_Tasks] = []
        # for a thread, because the system refused another one
        self._waiting: deque[_Task] = deque()
        self._threads = 0
        self._stuck: Counter[str] = Counter()
        # threads whose caller stopped waiting: the call hangs, or its late result is being released
        self._lost = 0
        # per thread: deadline of the nested calls of the current call
        self._own = threading.local()

    def start(self, threads: int) -> None:
        """Start threads in advance, as many as the system allows."""
        new = (self._new_thread() for _ in range(threads))
        started = [tasks for tasks in new if tasks is not None]
        with self._lock:
            self._idle.extend(started)

    @contextlib.contextmanager
    def in_all(self) -> Iterator[None]:
        """Limit the total wait of this thread for all calls in the block to the time limit of one call."""
        before = self._until()
        self._own.until = min(before, time.monotonic() + self._seconds)
        try:
            yield
        finally:
            self._own.until = before

    def run(self, name: str, call: Callable[[], T], what: str = "", drop: Callable[[T], None] | None = None) -> T:
        """Return the result of a call that reads a file.

        Parameters
        ----------
        name : str
            Wait key, the same for all callers that read the file; also the name of the file in messages.
        what : str
            Suffix of the name in messages.
        drop : callable
            Function that releases a result that arrives after the caller stopped waiting.

        Raises
        ------
        StuckError
            The call exceeds the time limit, an earlier call for this file hangs, too many other calls hang, or the
            caller has no time left.
        """
        seconds = self._seconds_left()
        if deadlines.seconds_left() is not None and len(self._stuck) >= _MANY_STUCK:
            seconds = min(seconds, self._seconds * _SHARE_IF_MANY)
        task = self._begin(name, call, what, drop, seconds)
        try:
            result: T = task.future.result(seconds)
        except TimeoutError:
            if not self._give_up(task):
                # the result has just arrived, or the call itself raised a TimeoutError
                return task.future.result()  # type: ignore[no-any-return]
            raise self._error(name + what) from None
        return result

    def run_together(self, name: str, call: Callable[[], None], threads: int) -> None:
        """Run a call in several threads at once; wait for all of them, at most half of the remaining time.

        Errors are ignored: the call only prepares later calls, which use the rest of the time.
        """
        seconds = self._seconds_left() / 2
        until = time.monotonic() + seconds
        try:
            tasks = [self._begin(name, call, "", None, seconds) for _ in range(threads)]
        except StuckError:
            return
        for task in tasks:
            try:
                task.future.exception(max(0.0, until - time.monotonic()))
            except TimeoutError:
                self._give_up(task)

    def end(self) -> None:
        """End the idle threads."""
        with self._lock:
            for tasks in self._idle:
                tasks.put(None)
            self._idle.clear()

    def _begin(
        self, name: str, call: Callable[[], Any], what: str, drop: Callable[[Any], None] | None, seconds: float
    ) -> _Task:
        """Pass a call to a thread, or queue it if the system refuses further threads.

        Raises
        ------
        StuckError
            The file or too many others hang, or no time is left.
        """
        task = _Task(name, call, drop, time.monotonic() + _FOR_OTHERS * seconds)
        with self._lock:
            # without time left, a timeout would not show whether the file hangs
            if seconds <= 0 or self._is_stuck(name):
                raise self._error(name + what)
            tasks = self._idle.pop() if self._idle else None
        tasks = tasks or self._new_thread()
        if tasks is not None:
            tasks.put(task)
        elif not self._is_queued(task):
            _carry_out(task)
        return task

    def _new_thread(self) -> _Tasks | None:
        """Start a thread, and return its queue; None if the system refuses the thread."""
        tasks = _Tasks()
        try:
            threading.Thread(target=self._work, args=(tasks,), name="reading", daemon=True).start()
        except RuntimeError:
            return None
        with self._lock:
            self._threads += 1
        return tasks

    def _is_queued(self, task: _Task) -> bool:
        """Return True if a task was handed to a thread that became idle, or waits for one."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(task)
            elif self._threads and not getattr(self._own, "is_worker", False):
                self._waiting.append(task)
            else:
                return False
        return True

    def _become_idle(self, tasks: _Tasks) -> None:
        """Give a thread the next task, or mark it as idle; the lock is held."""
        if self._waiting:
            tasks.put(self._waiting.popleft())
        else:
            self._idle.append(tasks)

    def _seconds_left(self) -> float:
        left = deadlines.seconds_left()
        return min(self._seconds, self._until() - time.monotonic(), math.inf if left is None else left)

    def _until(self) -> float:
        until: float = getattr(self._own, "until", math.inf)
        return until

    def _is_stuck(self, name: str) -> bool:
        return name in self._stuck or len(self._stuck) >= _MOST_STUCK or self._lost >= _MOST_LOST

    def _give_up(self, task: _Task) -> bool:
        """Stop waiting for a task; return False if it is already done."""
        with self._lock:
            if task in self._waiting:
                self._waiting.remove(task)
                task.is_given_up = True
            elif not task.is_done:
                task.is_given_up = True
                self._stuck[task.name] += 1
                self._lost += 1
        return task.is_given_up

    def _work(self, tasks: _Tasks) -> None:
        self._own.is_worker = True
        while (task := tasks.get()) is not None:
            self._own.until = task.until
            result, error = None, None
            try:
                result = task.call()
            except BaseException as raised:  # noqa: BLE001 - passed to the caller
                error = raised
            self._hand_over(task, tasks, result, error)
            # an idle thread must not keep the objects of its last task alive
            del task, result, error

    def _hand_over(self, task: _Task, tasks: _Tasks, result: Any, error: BaseException | None) -> None:
        """Pass the result or error to the caller, or release the result if the caller stopped waiting."""
        if self._is_in_time(task, tasks):
            if error is None:
                task.future.set_result(result)
            else:
                task.future.set_exception(error)
            return
        if error is None:
            _drop(task, result)
        with self._lock:
            self._lost -= 1
            self._become_idle(tasks)

    def _is_in_time(self, task: _Task, tasks: _Tasks) -> bool:
        """Return True if the caller still waits for a finished task, and mark the thread as idle.

        If the caller stopped waiting, the file no longer counts as hanging, but the thread is not idle until the result
        is released, which may take long.
        """
        with self._lock:
            task.is_done = True
            if not task.is_given_up:
                self._become_idle(tasks)
                return True
            self._stuck[task.name] -= 1
            if not self._stuck[task.name]:
                del self._stuck[task.name]
        return False

    def _error(self, name: str) -> StuckError:
        return StuckError(
            f"{name}: storage did not respond within {self._seconds:g} s; check that the archive is reachable, "
            "then retry"
        )


def _carry_out(task: _Task) -> None:
    """Run a task in the calling thread."""
    task.is_done = True
    try:
        task.future.set_result(task.call())
    except BaseException as error:  # noqa: BLE001 - the caller gets the error, whatever it is
        task.future.set_exception(error)


def _drop(task: _Task, result: Any) -> None:
    """Release a result that arrived too late."""
    try:
        if task.drop is not None:
            task.drop(result)
    except Exception as error:  # noqa: BLE001 - no caller is left to receive the error
        log.warning("%s: cannot release a late result (%s)", task.name, error)


class InlineExecutor:
    """Executor for calls that do not hang; it runs them in the calling thread, which is faster.

    Parameters
    ----------
    io : IoExecutor
        Executor of the reads within such a call, all within one time limit.
    """

    def __init__(self, io: IoExecutor):
        self._io = io

    def run(self, name: str, call: Callable[[], T], what: str = "", drop: Callable[[T], None] | None = None) -> T:
        """Return the result of a call; the parameters are those of `IoExecutor.run`."""
        with self._io.in_all():
            return call()
