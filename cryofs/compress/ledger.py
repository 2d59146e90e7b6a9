"""Track which jobs of a run are done, failed, or waiting."""

from collections.abc import Iterable
from pathlib import Path

from cryofs.archive.jobs import Job
from cryofs.compress.summary import Listener, Summary
from cryofs.errors import CryofsError


class Ledger:
    """State of the jobs of a run, and the summary of the run.

    Attributes
    ----------
    waiting : set of Job
        Jobs that are neither done nor failed.
    plain : dict
        Jobs that make plain copies, each with the reason why the file is not archived as a movie.
    """

    def __init__(self, jobs: Iterable[Job], summary: Summary, listener: Listener):
        self.waiting = set(jobs)
        self.plain: dict[Job, CryofsError] = {}
        self.summary = summary
        self.listener = listener

    def done(self, job: Job) -> None:
        """Remove a finished job from the waiting ones."""
        self.waiting.discard(job)

    def fail(self, source: Path, error: Exception, job: Job | None = None) -> None:
        """Count and report a source that cannot be archived, and remove its job from the waiting ones."""
        if job is not None:
            self.waiting.discard(job)
        self.summary.failed += 1
        self.listener.failed(source, error)

    def keep_plain(self, copy: Job, reason: CryofsError) -> None:
        """Add the job that makes a plain copy of a movie, with the reason why the movie was not archived."""
        self.plain[copy] = reason
        self.waiting.add(copy)
