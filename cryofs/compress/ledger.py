"""State of the jobs of a run: done, failed, or waiting."""

from collections.abc import Iterable
from pathlib import Path

from cryofs.archive.jobs import Job
from cryofs.compress.summary import Listener, Summary
from cryofs.errors import CryofsError


class Ledger:
    """State of the jobs of a run, and its figures.

    Attributes
    ----------
    waiting : set of Job
        Jobs that are neither done nor failed.
    plain : dict
        Jobs that copy files named like movies, with the reasons why these are not archived as movies.
    """

    def __init__(self, jobs: Iterable[Job], summary: Summary, listener: Listener):
        self.waiting = set(jobs)
        self.plain: dict[Job, CryofsError] = {}
        self.summary = summary
        self.listener = listener

    def done(self, job: Job) -> None:
        """Record that a job is complete."""
        self.waiting.discard(job)

    def fail(self, source: Path, error: Exception, job: Job | None = None) -> None:
        """Report a source that cannot be archived."""
        if job is not None:
            self.waiting.discard(job)
        self.summary.failed += 1
        self.listener.failed(source, error)

    def keep_plain(self, copy: Job, reason: CryofsError) -> None:
        """Schedule a plain copy of a movie that cannot be archived, with the reason."""
        self.plain[copy] = reason
        self.waiting.add(copy)
