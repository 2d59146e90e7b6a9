"""Facts about archives and movies for `cryofs info` and `cryofs stats`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryofs.archive.eer_checks import SECONDS, EerCheck, check_eers
from cryofs.archive.progress import as_cryofs_error
from cryofs.archive.scan import Kind, collect_archived
from cryofs.errors import CryofsError
from cryofs.movies import registry
from cryofs.movies.provider import InfoOptions


@dataclass
class Savings:
    """Number and sizes of the archived movies of an archive; `unread` has the errors of unreadable files."""

    movies: int = 0
    damaged: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    unread: list[CryofsError] = field(default_factory=list)
    eers: EerCheck = field(default_factory=EerCheck)

    @property
    def ratio(self) -> float | None:
        """Ratio of the stored to the original size, or None if there are no movies."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else None


def savings(paths: Iterable[Path], eer_seconds: float = SECONDS) -> Savings:
    """Return the numbers and sizes of all archived movies below some paths, and check their EER files.

    Parameters
    ----------
    eer_seconds : float
        Time limit for the check of EER files in seconds.
    """
    found, problems = collect_archived(paths)
    total = Savings(unread=[problem.error for problem in problems])
    eers = []
    for job in found:
        if job.kind is not Kind.FILE:
            continue
        try:
            what = registry.identify(job.source)
        except OSError as error:
            total.unread.append(as_cryofs_error(error, job.source))
            continue
        if what.provider is not None and what.provider.checks_take_time:
            eers.append(job.source)
        elif what.error is not None:
            total.damaged += 1
        elif what.record is not None:
            total.movies += 1
            total.original_bytes += what.record.source_bytes
            total.stored_bytes += what.size
    total.eers = check_eers(eers, eer_seconds)
    return total


def describe(path: Path, options: InfoOptions | None = None) -> dict[str, Any]:
    """Return the facts about a movie of any kind that `cryofs info --json` prints, by name."""
    return registry.describe(path, options or InfoOptions())
