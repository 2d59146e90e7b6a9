"""Run movie jobs one at a time in this process, or several at a time in worker processes."""

from collections.abc import Generator, Sequence
from pathlib import Path

from cryofs.archive.jobs import Job
from cryofs.compress.movie_task import Archiver, CompressOptions, Stored, StoreMovies
from cryofs.errors import ArchiveError
from cryofs.execution.executor import OnProgress
from cryofs.execution.messages import Done, Failed
from cryofs.execution.preload import prepare
from cryofs.execution.processes import DiedError, NoProcessError, Processes
from cryofs.execution.threads import InTurn
from cryofs.storage.atomic_file import remove_stale_drafts

# Original bytes of a run from which starting processes saves time.
_WORTH_PROCESSES = 1 << 30
# Maximum number of processes; on a machine with more cores, each process uses several.
_MAX_PROCESSES = 16
# Modules that are imported once, by the process from which workers are forked.
_PRELOADED = ["cryofs.compress.preload"]


class MovieExecutor:
    """Executor that stores movies, in worker processes if `prepare` started them."""

    def __init__(self, archive: Path, options: CompressOptions, archiver: Archiver):
        self._archive = archive
        self._options = options
        self._archiver = archiver
        # None until `prepare` has decided
        self._has_processes: bool | None = None

    def prepare(self, movies: int, original_bytes: int) -> str | None:
        """Start worker processes if the number and size of the movies justify it.

        Returns
        -------
        str or None
            Message if no process can be started, returned only by the first call; otherwise None.
        """
        too_few = min(movies, self._options.jobs) < 2 or original_bytes < _WORTH_PROCESSES
        if self._has_processes is not None or too_few:
            return None
        try:
            prepare(_PRELOADED)
        except OSError as error:
            self._has_processes = False
            return f"no worker process can be started ({error}); movies are stored one at a time"
        self._has_processes = True
        return None

    def store_all(
        self, jobs: Sequence[Job], on_progress: OnProgress
    ) -> Generator[tuple[Job, Done[Stored] | Failed], None, None]:
        """Store movies and yield each job with its outcome; progress is in frames."""
        if self._has_processes:
            yield from self._store_in_processes(jobs, on_progress)
        else:
            yield from InTurn().run(self._archiver.store, jobs, on_progress)

    def _store_in_processes(
        self, jobs: Sequence[Job], on_progress: OnProgress
    ) -> Generator[tuple[Job, Done[Stored] | Failed], None, None]:
        count = min(self._options.jobs, len(jobs), _MAX_PROCESSES)
        store = StoreMovies(self._archive, self._options, max(1, self._options.jobs // count))
        sources = self._archiver.sources
        tasks = [(job, sources.known(job)) for job in jobs]
        sources.close()
        for (job, _), outcome in Processes(count).run(store, tasks, on_progress):
            if outcome.attempts > 1:
                remove_stale_drafts((self._archive / job.target).parent)
            match outcome:
                case Failed(NoProcessError()):
                    yield from InTurn().run(self._archiver.store, [job], on_progress)
                case Failed(DiedError()):
                    text = f"{job.source}: worker process died, possibly out of memory; reduce --jobs"
                    yield job, Failed(ArchiveError(text))
                case _:
                    yield job, outcome
