"""Make the gain references that waiting movies need, in a worker process.

The movies are added to the estimates of the archive (`cryofs.gain.waiting_estimates`), each once. An estimate becomes a
reference of the archive when it has settled, when many movies or no further ones have come, or at once on request.
"""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryofs.compress.full_disk import is_full
from cryofs.errors import CryofsError
from cryofs.execution.executor import Report
from cryofs.gain.estimation import Estimation, FrameRow
from cryofs.gain.match import matches
from cryofs.gain.references import References, or_rounded_twice
from cryofs.gain.samples import Sample, take_samples
from cryofs.gain.waiting_estimates import WaitingEstimates
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.mrc import MrcMovie
from cryofs.text import counted


@dataclass(frozen=True)
class Patience:
    """How long movies wait for an estimate that has not settled.

    Attributes
    ----------
    movies : int
        Number of movies with the same gain that do not wait for further ones.
    seconds : float
        Time without a further movie after which the others do not wait any longer.
    """

    movies: int = 8
    seconds: float = 900.0


@dataclass(frozen=True)
class Request:
    """The movies that wait for a gain reference.

    Attributes
    ----------
    movies : tuple of Path
        All of them, also those that are in an estimate already.
    at_once : bool
        Whether to make references from what there is.
    """

    movies: tuple[Path, ...]
    at_once: bool


@dataclass(frozen=True)
class Answer:
    """What became of waiting movies; those that are in no list continue to wait.

    Attributes
    ----------
    fitting : tuple of Path
        Movies that a reference of the archive fits now.
    without : tuple of Path
        Movies that have no gain, or that cannot be read: no reference will fit them.
    due : float or None
        When the next reference is due without further movies, in seconds since 1970.
    made : tuple of str
        Names of the references that were made, at the root of the archive.
    notes : tuple of str
        A message for each of them.
    """

    fitting: tuple[Path, ...]
    without: tuple[Path, ...]
    due: float | None
    made: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class MakeReferences:
    """Task function; it is pickled, and opens files only in the worker."""

    archive: Path
    threads: int
    patience: Patience

    def __call__(self, request: Request, report: Report) -> Answer:
        """Add movies to their estimates, and make the references that are due.

        Raises
        ------
        CryofsError, OSError
            A reference cannot be written.
        """
        with ThreadPoolExecutor(self.threads) as pool:
            return _Making(self.archive, pool, self.patience, report).answer(request)


class _Making:
    def __init__(self, archive: Path, pool: ThreadPoolExecutor, patience: Patience, report: Report):
        self._archive = archive
        self._pool = pool
        self._patience = patience
        self._report = report
        self._estimates = WaitingEstimates(archive, pool, self._on_row)
        # movies by the number of their estimate, with the times of their last change
        self._members: dict[int, dict[Path, float]] = defaultdict(dict)
        self._fitting: list[Path] = []
        self._without: list[Path] = []
        self._left: list[Path] = []
        self._made: list[str] = []
        self._notes: list[str] = []

    def answer(self, request: Request) -> Answer:
        for path in request.movies:
            self._add(path)
        reasons = {one.number: self._reason(one, request.at_once) for one in self._estimates.estimates}
        for estimation in list(self._estimates.estimates):
            if reason := reasons[estimation.number]:
                self._make(estimation, reason)
        try:
            self._estimates.save()
        except OSError as error:
            if not is_full(error):
                raise
            for estimation in list(self._estimates.estimates):
                self._make(estimation, "the disk is full")
        return Answer(tuple(self._fitting), tuple(self._without), self._due(), tuple(self._made), tuple(self._notes))

    def _add(self, path: Path) -> None:
        try:
            found = path.lstat()
            estimation = self._estimates.of(str(path), (found.st_size, found.st_mtime_ns))
            if estimation is None:
                with MrcMovie(path) as movie:
                    estimation = self._estimates.add(movie)
        except FileNotFoundError:
            return
        except (CryofsError, OSError):
            estimation = None  # the error is reported when the movie is archived
        if estimation is None:
            self._without.append(path)
        else:
            self._members[estimation.number][path] = found.st_ctime

    def _reason(self, estimation: Estimation, at_once: bool) -> str:
        """Return why an estimate becomes a reference now; empty if it does not."""
        members = self._members[estimation.number]
        if not members:
            return "no movie waits"
        if self._estimates.is_settled(estimation):
            return "settled"
        if len(members) >= self._patience.movies:
            return f"{len(members)} movies wait"
        if self._quiet_at(estimation.number) <= time.time():
            return f"no further movie for {self._patience.seconds / 60:.0f} min"
        return "requested" if at_once else ""

    def _quiet_at(self, number: int) -> float:
        return max(self._members[number].values()) + self._patience.seconds

    def _due(self) -> float | None:
        if self._left:
            return time.time()
        return min((self._quiet_at(one.number) for one in self._estimates.estimates), default=None)

    def _make(self, estimation: Estimation, reason: str) -> None:
        """Store the reference of an estimate, and decide about its movies."""
        samples = {path: taken for path in self._members[estimation.number] if (taken := self._samples(path))}
        # another program may have brought a reference meanwhile
        needing = [path for path, taken in samples.items() if not self._is_served(path, estimation, taken)]
        fitting = [path for path in samples if path not in needing]
        if needing:
            best = or_rounded_twice(estimation, needing, MrcMovie, self._pool, self._on_row) or estimation
            reference = best.reference(self._pool)
            found = [path for path in needing if matches(reference, samples[path])]
            if found:
                self._store(best, reference, reason)
                self._left += [path for path in needing if path not in found]
            else:
                self._without += needing
            fitting += found
        self._fitting += fitting
        self._estimates.drop(estimation)

    def _samples(self, path: Path) -> list[Sample] | None:
        try:
            with MrcMovie(path) as movie:
                return take_samples(movie)
        except FileNotFoundError:
            return None
        except (CryofsError, OSError):
            self._without.append(path)
            return None

    def _is_served(self, path: Path, estimation: Estimation, samples: list[Sample]) -> bool:
        """Return True if a reference that is in the archive already fits a movie."""
        self._references.look_in(path.parent)
        return self._references.best_match(estimation.frame_shape, samples) is not None

    def _store(self, estimation: Estimation, reference: GainReference, reason: str) -> None:
        added = self._references.add(reference, estimation.pixel_size)
        self._references.record_checksums()
        self._made.append(added.record.name)
        used = f"{counted(len(estimation.movies_used), 'movie')}, {counted(estimation.frames_used, 'frame')}"
        self._notes.append(
            f"{added.record.name}: gain estimated from {used} ({reason}): "
            f"{estimation.pixels_without_gain} of {estimation.pixels} pixels without a gain (defects), "
            f"#Changed {estimation.changes[-1]} in the last frame, "
            f"#Unreliable {estimation.unreliable[-1]} (fewer than {estimation.thresh} agreeing values)"
        )

    @cached_property
    def _references(self) -> References:
        return References(self._archive)

    def _on_row(self, _: FrameRow) -> None:
        self._report(1)
