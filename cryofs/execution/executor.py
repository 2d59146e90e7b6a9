"""The interface of executors, which run tasks and yield their outcomes."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol, TypeVar

from cryofs.errors import CryofsError
from cryofs.execution.messages import Done, Failed, Progress

Task = TypeVar("Task")
Result = TypeVar("Result")

# Called by a task with the number of units finished since the last call.
Report = Callable[[int], None]
# Runs one task. Worker processes receive a pickled copy of it.
Perform = Callable[[Task, Report], Result]
OnProgress = Callable[[Progress], None]
Outcome = Done[Result] | Failed


class Executor(Protocol):
    """Interface of an executor, which runs tasks."""

    def run(
        self, perform: Perform[Task, Result], tasks: Iterable[Task], on_progress: OnProgress
    ) -> Generator[tuple[Task, Outcome[Result]], None, None]:
        """Run tasks, and yield each task with its outcome.

        A `CryofsError` or `OSError` raised by a task is an outcome, so that the other tasks continue. If the caller
        closes the iterator early, for example on Ctrl-C, running tasks end at their next report, and waiting tasks are
        dropped.
        """


def attempt(perform: Perform[Task, Result], task: Task, report: Report) -> Outcome[Result]:
    """Run a task in the calling thread; return its result, or the CryofsError or OSError that it raised."""
    try:
        return Done(perform(task, report))
    except (CryofsError, OSError) as error:
        return Failed(error)


def results(outcomes: Generator[tuple[Task, Outcome[Result]], None, None]) -> Iterator[Result]:
    """Yield the result of each task; raise the first error, which ends the run."""
    with contextlib.closing(outcomes):
        for _, outcome in outcomes:
            match outcome:
                case Done(result):
                    yield result
                case Failed(error):
                    raise error


def ignore(progress: Progress) -> None:
    """Do nothing; this is the default progress callback."""
