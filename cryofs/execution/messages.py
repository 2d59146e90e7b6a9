"""Messages of an executor about a task: progress while it runs, then a result or an error."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from cryofs.errors import CryofsError

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Progress:
    """Message with the number of units finished since the previous message; negative if units must be repeated."""

    count: int


@dataclass(frozen=True)
class Done(Generic[Result]):
    """Outcome of a completed task.

    Attributes
    ----------
    attempts : int
        Number of times the task was started; 2 if the first process died.
    """

    result: Result
    attempts: int = 1


@dataclass(frozen=True)
class Failed:
    """Outcome of a task that raised an error, or that could not be run."""

    error: CryofsError | OSError
    attempts: int = 1
