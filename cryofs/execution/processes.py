"""Run tasks in several processes of this machine, so that they do not share an interpreter lock.

The caller sends tasks and receives messages over one pipe for each worker. A worker runs one task at a time. If a
worker dies, for example because the system is out of memory, its task is retried once, after all others and while no
other task runs. When the run ends for any reason, the caller closes the pipes; a worker detects this at its next report
and abandons its task.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Generic

from cryofs.errors import CryofsError
from cryofs.execution.executor import OnProgress, Outcome, Perform, Result, Task, attempt, ignore
from cryofs.execution.messages import Done, Failed, Progress
from cryofs.execution.preload import CONTEXT, interrupts_held


class NoProcessError(CryofsError):
    """No worker process exists, and none can be started."""


class DiedError(CryofsError):
    """A task failed because two workers that ran it died, the second one in a retry."""


class _StoppedError(BaseException):
    """The run has ended, so the task is abandoned."""


@dataclass
class _Worker(Generic[Task]):
    """State of a worker in the calling process: its task, and the progress that it has reported."""

    process: ForkServerProcess
    pipe: "Connection[Any, Any]"
    task: Task
    reported: int = 0

    def give(self, task: Task) -> None:
        """Send a task; if the worker is dead, the next `receive` detects this."""
        self.task, self.reported = task, 0
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def receive(self) -> Progress | Outcome[Any] | None:
        """Return the next message, or None if the worker is dead."""
        try:
            return self.pipe.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Close the connection, and wait for the worker to exit."""
        self.pipe.close()
        self.process.join()


class Processes:
    """Executor that runs each task in one of several processes, and yields outcomes as they become available.

    Tasks, results and errors are pickled. When an outcome is a `NoProcessError`, no other task is running, so the
    caller may run the task itself.

    Parameters
    ----------
    processes : int
        Maximum number of simultaneous tasks; the system may permit fewer processes.
    """

    def __init__(self, processes: int):
        self._processes = processes

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress = ignore
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Run tasks and yield their outcomes; see `Executor.run`."""
        died = []
        for task, outcome in _run(perform, tasks, self._processes, on_progress):
            if outcome is None:
                died.append(task)
            else:
                yield task, outcome
        for again in died:
            for task, outcome in _run(perform, [again], 1, on_progress):
                match outcome:
                    case Done(result):
                        yield task, Done(result, 2)
                    case Failed(error):
                        yield task, Failed(error, 2)
                    case _:
                        yield (
                            task,
                            Failed(DiedError("two worker processes died during a task, possibly out of memory"), 2),
                        )


def _run(
    perform: Perform[Task, Result], tasks: Iterable[Task], processes: int, on_progress: OnProgress
) -> Iterator[tuple[Task, Outcome[Result] | None]]:
    """Run tasks with up to `processes` workers; yield None for a task whose worker died."""
    waiting = iter(tasks)
    workers: dict[object, _Worker[Task]] = {}
    try:
        while True:
            while len(workers) < processes and (following := _next(waiting)):
                task = following[0]
                try:
                    worker = _start(perform, task)
                except (OSError, EOFError) as error:
                    if workers:
                        processes, waiting = len(workers), itertools.chain([task], waiting)
                    else:
                        yield task, Failed(NoProcessError(f"no process can be started ({error})"))
                else:
                    workers[worker.pipe] = worker
            if not workers:
                return
            for pipe in wait([worker.pipe for worker in workers.values()]):
                worker = workers[pipe]
                message = worker.receive()
                if isinstance(message, Progress):
                    worker.reported += message.count
                    on_progress(message)
                    continue
                if message is None:
                    on_progress(Progress(-worker.reported))
                task = worker.task
                if message is not None and (following := _next(waiting)):
                    worker.give(following[0])
                else:
                    workers.pop(pipe).end()
                yield task, message
    finally:
        for worker in workers.values():
            worker.pipe.close()
        for worker in workers.values():
            worker.end()


def _next(tasks: Iterator[Task]) -> list[Task]:
    """Return a list of the next task, which is empty if there is none."""
    return list(itertools.islice(tasks, 1))


def _start(perform: Perform[Task, Result], task: Task) -> _Worker[Task]:
    """Start a worker with its first task.

    Raises
    ------
    EOFError
        The process from which workers are forked has died.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(theirs, perform))
    try:
        with theirs, interrupts_held():
            process.start()
    except (OSError, EOFError):
        ours.close()
        raise
    worker = _Worker(process, ours, task)
    worker.give(task)
    return worker


def _work(pipe: "Connection[Any, Any]", perform: Perform[Task, Result]) -> None:
    """Receive and run tasks until the run ends; this is the main function of a worker."""

    def report(count: int) -> None:
        # while a task runs, the pipe becomes readable only when the run has ended
        if pipe.poll():
            raise _StoppedError
        pipe.send(Progress(count))

    with contextlib.suppress(EOFError, ConnectionError, _StoppedError):
        while True:
            pipe.send(attempt(perform, pipe.recv(), report))
