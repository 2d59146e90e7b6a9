"""Choose the sources that one part of a run archives."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofs.archive.jobs import Job, Kind, Problem
from cryofs.execution.parts import Part


@dataclass(frozen=True)
class Share:
    """The jobs and problems of one part, and the movies of the other parts; all parts have all folders."""

    jobs: list[Job]
    problems: list[Problem]
    movies_elsewhere: list[Job]


def share_of(part: Part, paths: Sequence[Path], jobs: list[Job], problems: list[Problem]) -> Share:
    """Return what belongs to a part.

    Movies of lists are dealt in turn, so that the parts are equal. A folder may grow while the parts start, so its
    files are assigned by their names alone; only names that are numbered in sequence then give equal parts. All names
    of a file with several hard links belong to the part of the first.
    """
    if part.is_whole:
        return Share(jobs, problems, [])
    if any(path.is_dir() for path in paths):
        first = _first_names(jobs)
        own = [job for job in jobs if job.kind is Kind.FOLDER or part.has(first.get(job, job.target))]
        own_problems = [problem for problem in problems if part.has(problem.source)]
    else:
        sources = sorted({*(job.source for job in jobs), *(problem.source for problem in problems)})
        chosen = {source for index, source in enumerate(sources) if part.has_index(index)}
        own = [job for job in jobs if job.kind is Kind.FOLDER or job.source in chosen]
        own_problems = [problem for problem in problems if problem.source in chosen]
    kept = set(own)
    return Share(own, own_problems, [job for job in jobs if job.kind.is_original and job not in kept])


def _first_names(jobs: list[Job]) -> dict[Job, Path]:
    """Return the first target of the file of each job that has several hard links."""
    targets: dict[tuple[int, int], Path] = {}
    first = {}
    for job in jobs:
        try:
            found = os.lstat(job.source) if job.kind is Kind.FILE else None
        except OSError:
            continue  # archiving the file reports the error
        if found is not None and found.st_nlink > 1:
            first[job] = targets.setdefault((found.st_dev, found.st_ino), job.target)
    return first
