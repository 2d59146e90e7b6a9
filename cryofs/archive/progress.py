"""How runs over archived files tell of each file, of its frames, and of what goes wrong with it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError

# Called with each file that is done, and the error of one that failed.
OnFile = Callable[[Path, Exception | None], None]
# Called with how many frames more are done, and before the first of them with what is done, and how many there are.
OnFrame = Callable[[int], None]
Begin = Callable[[str, int], None]


class Counting(Protocol):
    """Figures of a run."""

    failed: int


@contextlib.contextmanager
def told(source: Path, figures: Counting, on_file: OnFile) -> Iterator[None]:
    """Turn errors into a failed file, so that the run goes on with the next."""
    try:
        yield
    except (CryofsError, OSError) as error:
        figures.failed += 1
        on_file(source, as_told(error, source))


def as_told(error: CryofsError | OSError, source: Path) -> CryofsError:
    """An error of the system as one of ours, which names the file that it is about."""
    return error if isinstance(error, CryofsError) else ArchiveError(explain(error, source))
