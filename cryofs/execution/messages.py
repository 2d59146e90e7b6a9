"""What an executor reports of a task: progress while it runs, then its result or its error."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from cryofs.errors import CryofsError

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Progress:
    """Units of a task that were finished since the last message; negative if they have to be done again."""

    count: int


@dataclass(frozen=True)
class Done(Generic[Result]):
    """A task that was carried out.

    Attributes
    ----------
    attempts : int
        How often the task was begun; more than once if a process died.
    """

    result: Result
    attempts: int = 1


@dataclass(frozen=True)
class Failed:
    """A task that raised an error, or that could not be carried out."""

    error: CryofsError | OSError
    attempts: int = 1
