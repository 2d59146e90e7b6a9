"""Reporting of files, progress and errors in runs over archived files."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError

# Called with each file that is done, and its error if it failed.
OnFile = Callable[[Path, Exception | None], None]
# Begin is called with the name of the activity and the total, then OnFrame with the number of units done.
OnFrame = Callable[[int], None]
Begin = Callable[[str, int], None]


class Counting(Protocol):
    """Figures of a run."""

    failed: int


@contextlib.contextmanager
def report_errors(source: Path, figures: Counting, on_file: OnFile) -> Iterator[None]:
    """Report an error in the context as a failed file, so that the run continues with the next file."""
    try:
        yield
    except (CryofsError, OSError) as error:
        report_failure(source, error, figures, on_file)


def report_failure(source: Path, error: CryofsError | OSError, figures: Counting, on_file: OnFile) -> None:
    """Count and report a file that failed."""
    figures.failed += 1
    on_file(source, as_cryofs_error(error, source))


def as_cryofs_error(error: CryofsError | OSError, source: Path) -> CryofsError:
    """Return an error of the system as an ArchiveError that names the file."""
    return error if isinstance(error, CryofsError) else ArchiveError(explain(error, source))
