"""Run tasks in the calling thread, or in threads of this process."""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from cryofs.execution.executor import OnProgress, Outcome, Perform, Result, Task, attempt, ignore
from cryofs.execution.messages import Progress

_Running: TypeAlias = deque[tuple[Task, Future[Outcome[Result]]]]


class StoppedError(BaseException):
    """The run has ended; raised in a task to stop it."""


class InTurn:
    """Executor that runs one task at a time in the calling thread."""

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress = ignore
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Run tasks and yield their outcomes; see `Executor.run`."""
        for task in tasks:
            yield task, attempt(perform, task, lambda count: on_progress(Progress(count)))


class Threads:
    """Executor that runs several tasks at a time in threads of this process; all threads call `on_progress`.

    Tasks are taken from the iterable on demand, at most two for each thread in advance, so the iterable may be long.

    Parameters
    ----------
    in_order : bool
        Whether to yield outcomes in the order of the tasks instead of as they become available.
    """

    def __init__(self, threads: int, *, in_order: bool = True):
        self._threads = threads
        self._in_order = in_order

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress = ignore
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Run tasks and yield their outcomes; see `Executor.run`."""
        with ThreadPoolExecutor(self._threads, "tasks") as pool:
            yield from _run(pool, 2 * self._threads, self._in_order, perform, tasks, on_progress)


class Pooled:
    """Executor that runs tasks in a thread pool shared by several runs, and yields outcomes in the order of the tasks.

    A run submits all its tasks at once. A task must not wait for another task of the pool.
    """

    def __init__(self, pool: futures.Executor):
        self._pool = pool

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress = ignore
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Run tasks and yield their outcomes; see `Executor.run`."""
        yield from _run(self._pool, None, True, perform, tasks, on_progress)


def _run(
    pool: futures.Executor,
    ahead: int | None,
    in_order: bool,
    perform: Perform[Task, Result],
    tasks: Iterable[Task],
    on_progress: OnProgress,
) -> Generator[tuple[Task, Outcome[Result]], None, None]:
    """Run tasks in a pool and yield outcomes.

    At most `ahead` tasks are submitted before the caller takes an outcome; if it is None, all tasks are.
    """
    stopped = threading.Event()

    def report(count: int) -> None:
        if stopped.is_set():
            raise StoppedError
        on_progress(Progress(count))

    running: _Running[Task, Result] = deque()
    try:
        for task in tasks:
            running.append((task, pool.submit(attempt, perform, task, report)))
            if ahead is not None and len(running) > ahead:
                yield from _finished(running, in_order)
        while running:
            yield from _finished(running, in_order)
    finally:
        stopped.set()
        for _, future in running:
            future.cancel()
        futures.wait([future for _, future in running])


def _finished(running: "_Running[Task, Result]", in_order: bool) -> Iterator[tuple[Task, Outcome[Result]]]:
    """Wait for at least one outcome; remove the finished tasks from `running`, and yield them with their outcomes."""
    if in_order:
        task, future = running.popleft()
        yield task, future.result()
        return
    done, _ = futures.wait([future for _, future in running], return_when=futures.FIRST_COMPLETED)
    for each in [each for each in running if each[1] in done]:
        running.remove(each)
        yield each[0], each[1].result()
