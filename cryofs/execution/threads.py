"""Tasks in the calling thread, or in threads of this process."""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from cryofs.execution.executor import OnProgress, Outcome, Perform, Result, Task, attempt, ignore
from cryofs.execution.messages import Progress


class StoppedError(BaseException):
    """The run has ended; the task that receives this is abandoned."""


class InTurn:
    """Carries out one task after the other in the calling thread."""

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress = ignore
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Carry out tasks; see `Executor`."""
        for task in tasks:
            yield task, attempt(perform, task, lambda count: on_progress(Progress(count)))


class Threads:
    """Carries out several tasks at a time; `on_progress` is called by all threads.

    Tasks are taken from the iterable as they are needed, two for each thread ahead, so that it may be long.

    Parameters
    ----------
    in_order : bool
        Whether outcomes are yielded in the order of the tasks, or as soon as they are known.
    """

    def __init__(self, threads: int, *, in_order: bool = True):
        self._threads = threads
        self._in_order = in_order

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress = ignore
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Carry out tasks; see `Executor`."""
        stopped = threading.Event()

        def report(count: int) -> None:
            if stopped.is_set():
                raise StoppedError
            on_progress(Progress(count))

        running: deque[tuple[Task, Future[Outcome[Result]]]] = deque()
        with ThreadPoolExecutor(self._threads, "tasks") as pool:
            try:
                for task in tasks:
                    running.append((task, pool.submit(attempt, perform, task, report)))
                    if len(running) > 2 * self._threads:
                        yield from self._finished(running)
                while running:
                    yield from self._finished(running)
            finally:
                stopped.set()
                for _, future in running:
                    future.cancel()

    def _finished(self, running: deque[tuple[Task, Future[Outcome[Result]]]]) -> Iterator[tuple[Task, Outcome[Result]]]:
        """Wait for one outcome or more, and take them out of the queue."""
        if self._in_order:
            task, future = running.popleft()
            yield task, future.result()
            return
        done, _ = wait([future for _, future in running], return_when=FIRST_COMPLETED)
        for each in [each for each in running if each[1] in done]:
            running.remove(each)
            yield each[0], each[1].result()
