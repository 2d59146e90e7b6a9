"""Keep the sources of a run open, so that each one is opened and sampled once.

A movie stays open from the first read of its header until it is stored, so that header, samples and frames come from
the same open file. If too many movies are open, the least recently used ones are closed, and reopened when they are
needed.

Thread safety: several threads may use a movie at a time, as in a gain estimate; a lock guards the table of open movies.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryofs.archive.jobs import Job
from cryofs.gain.samples import Sample, sampled_bytes, samples_taken
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.source import SourceMovie
from cryofs.storage.file_state import FileState, is_still, state_of

# Limits on open files and on the memory of samples.
_MOST_OPEN = 64
_MOST_SAMPLED_BYTES = 256 << 20
# Limit for temporary files of movies that are not in use.
_MOST_SCRATCH_BYTES = 1 << 30


@dataclass(frozen=True)
class Known:
    """Samples of a movie for another process, with the identity of the sampled file."""

    state: FileState
    samples: list[Sample]


@dataclass
class _Open:
    """An open movie, the number of its users, and whether the last user has to close it."""

    movie: SourceMovie
    users: int = 0
    is_over: bool = False


class Sources:
    """Open movies of a run, by their paths.

    Parameters
    ----------
    open_movie : callable
        Opens the movie of a job.
    """

    def __init__(self, open_movie: Callable[[Job], SourceMovie]):
        self._open_movie = open_movie
        self._lock = threading.Lock()
        # in order of use, the most recently used last
        self._opened: dict[Path, _Open] = {}
        self._expected: dict[Path, Job] = {}

    @contextlib.contextmanager
    def open(self, job: Job) -> Iterator[SourceMovie]:
        """Yield the movie of a job; open the file unless it is already open and unchanged."""
        with self._using(job.source, lambda: self._open_movie(job)) as movie:
            yield movie

    @contextlib.contextmanager
    def open_mrc(self, path: Path) -> Iterator[MrcMovie]:
        """Yield the MRC movie at a path; open the file unless it is already open and unchanged."""
        job = self._expected.get(path)
        with self._using(path, lambda: self._open_movie(job) if job else MrcMovie(path)) as movie:
            assert isinstance(movie, MrcMovie)
            yield movie

    def expect(self, job: Job) -> None:
        """Have `open_mrc` open the movie of a job by the path of its source."""
        self._expected[job.source] = job

    def known(self, job: Job) -> Known | None:
        """Return the samples of a movie for another process, or None if they are not in memory."""
        with self._lock:
            entry = self._opened.get(job.source)
            samples = entry and samples_taken(entry.movie)
            return Known(state_of(entry.movie.stat), samples) if entry and samples else None

    def release(self, job: Job) -> None:
        """Close a movie that the run no longer needs, as soon as its last user is done."""
        with self._lock:
            self._end(job.source)

    def close(self) -> None:
        """Close all movies."""
        with self._lock:
            for path in list(self._opened):
                self._end(path)

    @contextlib.contextmanager
    def _using(self, path: Path, open_movie: Callable[[], SourceMovie]) -> Iterator[SourceMovie]:
        with self._lock:
            entry = self._opened.get(path)
            if entry is not None and not is_still(path, state_of(entry.movie.stat)):
                self._end(path)
                entry = None
            if entry is None:
                entry = _Open(open_movie())
            else:
                del self._opened[path]
            self._opened[path] = entry
            entry.users += 1
        try:
            yield entry.movie
        finally:
            with self._lock:
                entry.users -= 1
                if entry.is_over and not entry.users:
                    entry.movie.close()
                self._shrink()

    def _end(self, path: Path) -> None:
        entry = self._opened.pop(path, None)
        if entry is not None:
            entry.is_over = True
            if not entry.users:
                entry.movie.close()

    def _shrink(self) -> None:
        """Close the least recently used movies without users until the limits are met."""
        left, left_bytes = len(self._opened), sum(sampled_bytes(one.movie) for one in self._opened.values())
        scratch_bytes = sum(one.movie.scratch_bytes for one in self._opened.values())
        for path, entry in list(self._opened.items()):
            is_small = left_bytes <= _MOST_SAMPLED_BYTES and scratch_bytes <= _MOST_SCRATCH_BYTES
            if left <= _MOST_OPEN and is_small:
                return
            if not entry.users:
                scratch_bytes -= entry.movie.scratch_bytes
                left, left_bytes = left - 1, left_bytes - sampled_bytes(entry.movie)
                self._end(path)
