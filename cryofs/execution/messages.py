"""Messages of an executor about a task: progress while it runs, then its result or its error."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from cryofs.errors import CryofsError

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Progress:
    """Number of units finished since the last message; negative if units must be repeated."""

    count: int


@dataclass(frozen=True)
class Done(Generic[Result]):
    """A completed task with its result.

    Attributes
    ----------
    attempts : int
        Number of times the task was started; above 1 if a process died.
    """

    result: Result
    attempts: int = 1


@dataclass(frozen=True)
class Failed:
    """A task that raised an error, or that could not be run."""

    error: CryofsError | OSError
    attempts: int = 1
