"""Report files, progress and errors of operations on archived files."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError

# Called with each finished file, and its error if it failed.
OnFile = Callable[[Path, Exception | None], None]
# Begin is called with the name of the activity and the total, then OnFrame with the number of finished units.
OnFrame = Callable[[int], None]
Begin = Callable[[str, int], None]


class Counting(Protocol):
    """Results of a run that count failed files."""

    failed: int


@contextlib.contextmanager
def report_errors(source: Path, figures: Counting, on_file: OnFile) -> Iterator[None]:
    """Count and report an error raised in the context, and suppress it so that the caller can continue.

    Only CryofsError and OSError are suppressed.
    """
    try:
        yield
    except (CryofsError, OSError) as error:
        report_failure(source, error, figures, on_file)


def report_failure(source: Path, error: CryofsError | OSError, figures: Counting, on_file: OnFile) -> None:
    """Count a failed file in `figures`, and pass the error to `on_file`."""
    figures.failed += 1
    on_file(source, as_cryofs_error(error, source))


def as_cryofs_error(error: CryofsError | OSError, source: Path) -> CryofsError:
    """Return a CryofsError unchanged, or convert an OSError to an ArchiveError that names the file."""
    return error if isinstance(error, CryofsError) else ArchiveError(explain(error, source))
