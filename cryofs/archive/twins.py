"""Find the plain files and archived movies of one name in an archive, and which of them counts.

The rule is that of mounts (`cryofs.movies.twins`).
"""

import stat
from collections.abc import Iterable
from pathlib import Path

from cryofs.archive.identify import held_movie
from cryofs.archive.jobs import Job, Kind, Problem
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.archive_names import archived_path, is_movie_name, is_reference_name
from cryofs.movies.twins import Counts, conflict, size_and_time, which_counts
from cryofs.storage.journal import Journal, read_journal


def counting(plain: Path, journal: Journal | None = None) -> Counts | None:
    """Return which counts of a plain file and its archived movie, or None unless both exist.

    Parameters
    ----------
    journal : Journal or None
        Journal of the folder; None to read it.

    Raises
    ------
    DamagedError
        The archived movie is damaged.
    """
    if is_reference_name(plain.name):
        return None
    archived = archived_path(plain)
    try:
        found, movie = plain.lstat(), archived.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not (stat.S_ISREG(found.st_mode) and stat.S_ISREG(movie.st_mode)):
        return None
    record = held_movie(archived)
    if record is None or record.adopted is not None:
        return None  # a TIFF movie of another program, which does not stand for the plain file
    journal = read_journal(plain.parent) if journal is None else journal
    return which_counts(journal, plain.name, found, movie, size_and_time(record.original))


def without_superseded(jobs: Iterable[Job]) -> tuple[list[Job], list[Problem]]:
    """Return the jobs without the files that do not count, and a problem for each name of which neither file counts."""
    jobs = list(jobs)
    files = {job.source for job in jobs if job.kind is Kind.FILE}
    dropped: set[Path] = set()
    problems = []
    journals: dict[Path, Journal] = {}
    for plain in sorted(path for path in files if is_movie_name(path.name)):
        archived = archived_path(plain)
        if archived not in files:
            continue
        try:
            if plain.parent not in journals:
                journals[plain.parent] = read_journal(plain.parent)
            found = counting(plain, journals[plain.parent])
        except CryofsError:
            continue  # reading the movie reports the error
        except OSError as error:
            problems.append(Problem(plain, ArchiveError(explain(error, plain))))
            continue
        if found is Counts.NEITHER:
            problems.append(Problem(plain, conflict(plain, archived)))
        if found in (Counts.NEITHER, Counts.ARCHIVED):
            dropped.add(plain)
        if found in (Counts.NEITHER, Counts.PLAIN):
            dropped.add(archived)
    return [job for job in jobs if job.source not in dropped], problems
