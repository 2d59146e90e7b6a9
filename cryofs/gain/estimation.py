"""A gain estimate in progress: frames in, a row of figures for each, and when it may end."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

import numpy as np

from cryofs.errors import GainError
from cryofs.execution.executor import Report, results
from cryofs.execution.threads import Pooled
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.arithmetic import OpenMovie, find_arithmetic
from cryofs.gain.match import belongs
from cryofs.gain.samples import Sample
from cryofs.kernels.from_counts import GainReference
from cryofs.kernels.gain_estimate import BECAME_RELIABLE, CHANGED, MISMATCH, NEGATIVE, GainEstimate
from cryofs.movies.mrc import MrcMovie

DEFAULT_THRESH = 50
# The estimate is settled once #Unreliable has not changed over this many frames.
SETTLED_FRAMES = 10
# Fewer frames do not show whether the values of a movie have a common gain.
MIN_FRAMES_TO_JUDGE = 3

# One piece of work: these rows of these frames, a few megabytes, so that the state of the pixels stays in cache.
_BATCH_FRAMES = 8
_BAND_ROWS = 32
# The gain no longer changes: at most one pixel in a million over this many frames.
_QUIET_FRAMES = 16
_QUIET_SHARE = 1e-6


@dataclass(frozen=True)
class FrameRow:
    """What a frame did to the estimate."""

    movie: str
    frame: int
    changed: int
    mismatch: int
    negative: int
    unreliable: int
    pixels: int

    def __str__(self) -> str:
        return (
            f"{self.movie} Frame {self.frame:03d} #Changed {self.changed} #Mismatch {self.mismatch}, "
            f"#Negative {self.negative}, #Unreliable {self.unreliable} / {self.pixels}"
        )


class Goal(Enum):
    """How far an estimate is taken if no limit ends it."""

    STABLE = "until the gain no longer changes"
    SETTLED = "until the number of unreliable pixels no longer changes, too"
    ALL = "until all frames were read"


class Ending(Enum):
    """Why an estimate takes no further frames."""

    STABLE = "the gain no longer changes"
    SETTLED = f"#Unreliable has not changed for {SETTLED_FRAMES} frames"
    MAX_FRAMES = "the number of frames given by --max-frames is reached"
    INTERRUPTED = "interrupted"
    HOPELESS = "the values have no common gain"
    READ = "all frames were read"


@dataclass(frozen=True)
class Limits:
    """When to end an estimate.

    Attributes
    ----------
    frames : int or None
        Take at most this many frames, those of earlier runs included.
    stop : callable
        End as soon as this returns True.
    goal : Goal
        How far to go otherwise.
    min_frames : int
        Take at least this many frames, those of earlier runs included, before the goal counts as reached.
    """

    frames: int | None = None
    stop: Callable[[], bool] = lambda: False
    goal: Goal = Goal.SETTLED
    min_frames: int = 0


@dataclass
class Estimation:
    """An estimate in progress.

    Attributes
    ----------
    estimate : GainEstimate
        What is known of the pixels.
    thresh : int
        Reliability from which a pixel counts as reliable.
    reliable : int
        Number of reliable pixels.
    changes, unreliable : list of int
        #Changed and #Unreliable after each frame; the latter only as far back as is known for this threshold.
    frames_done : dict
        Movies with this gain, by absolute path, and how many of their frames were taken in; 0 if only sampled.
    stamps : dict
        Size and mtime_ns of these movies.
    tolerance : float
        See `GainEstimate.update`.
    number : int
        Which estimate of its folder this is, from 1.
    names : list of str
        Names that reference files of this estimate had or have; empty for the first estimate, whose name is fixed.
    """

    estimate: GainEstimate
    thresh: int = DEFAULT_THRESH
    reliable: int = 0
    changes: list[int] = field(default_factory=list)
    unreliable: list[int] = field(default_factory=list)
    frames_done: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    pixel_size: float | None = None
    tolerance: float = 0.0
    number: int = 1
    names: list[str] = field(default_factory=list)

    @classmethod
    def for_movie(cls, movie: MrcMovie, thresh: int = DEFAULT_THRESH, tolerance: float = 0.0, number: int = 1) -> Self:
        """Return an empty estimate for frames of this movie's size."""
        if movie.mrc_header.mode != MODE_FLOAT32:
            raise GainError(f"{movie.name}: not a float32 movie, so not gain-normalised; leave it out")
        _, ny, nx = movie.shape
        empty = GainEstimate.empty(ny, nx)
        return cls(empty, thresh, pixel_size=movie.mrc_header.pixel_size, tolerance=tolerance, number=number)

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.estimate.gain.size

    @property
    def pixels_without_gain(self) -> int:
        """Pixels that the reference has no gain for: defects, and those that never showed a count."""
        return self.pixels - int(np.count_nonzero(self.estimate.reliability > 0))

    @property
    def movies_used(self) -> list[str]:
        """Movies of which frames were taken in."""
        return [name for name, frames in self.frames_done.items() if frames]

    @property
    def frames_used(self) -> int:
        """Number of frames taken in."""
        return len(self.changes)

    @property
    def stable(self) -> bool:
        """Whether further frames no longer change the gain."""
        recent = self.changes[-_QUIET_FRAMES:]
        return len(recent) == _QUIET_FRAMES and sum(recent) <= self.pixels * _QUIET_SHARE

    @property
    def settled(self) -> bool:
        """Whether further frames change neither the gain nor which pixels are reliable.

        Before the first pixels have enough counts, #Unreliable stays at its maximum; that does not count.
        """
        recent = self.unreliable[-SETTLED_FRAMES - 1 :]
        if len(recent) <= SETTLED_FRAMES or len(set(recent)) > 1 or not self.stable:
            return False
        return self.reliable > 0.5 * (self.pixels - self.pixels_without_gain)

    def is_hopeless(self, frames: int = _BATCH_FRAMES) -> bool:
        """Whether most pixels show values without a common divisor: the movies are not gain-normalised counts.

        Fewer `frames` than these are not judged.
        """
        if len(self.changes) < frames:
            return False
        seen = np.count_nonzero(self.estimate.gain)
        return bool(np.count_nonzero(self.estimate.reliability < 0) > 0.5 * seen)

    def ending(self, limits: Limits) -> Ending | None:
        """Return why the estimate takes no further frames, or None if it does."""
        if limits.stop():
            return Ending.INTERRUPTED
        # the first frames show it; a look at all pixels after each batch would take time
        judged = _BATCH_FRAMES if limits.goal is Goal.STABLE else MIN_FRAMES_TO_JUDGE
        if len(self.changes) <= _BATCH_FRAMES and self.is_hopeless(judged):
            return Ending.HOPELESS
        if limits.frames is not None and len(self.changes) >= limits.frames:
            return Ending.MAX_FRAMES
        if len(self.changes) < limits.min_frames:
            return None
        if limits.goal is Goal.STABLE and self.stable:
            return Ending.STABLE
        return Ending.SETTLED if limits.goal is Goal.SETTLED and self.settled else None

    def fits(self, samples: list[Sample]) -> bool:
        """Whether a movie, of which these are samples, has the gain estimated here."""
        return belongs(self.estimate, samples, self.tolerance)

    def add_movie(self, movie: MrcMovie, pool: Executor, limits: Limits) -> Iterator[FrameRow]:
        """Take in the frames of a movie that were not taken in before, until the estimate ends.

        Raises
        ------
        GainError
            The movie is not of float32 frames of the size of this estimate.
        """
        self.check_frames(movie)
        frames = movie.shape[0]
        self.stamps[movie.name] = movie.state
        first = self.frames_done.setdefault(movie.name, 0)
        while self.ending(limits) is None:
            end = min(first + _BATCH_FRAMES, frames)
            if limits.frames is not None:
                end = min(end, first + limits.frames - len(self.changes))
            if end <= first:
                return
            yield from self._add_batch(movie, range(first, end), pool)
            first = end

    def check_frames(self, movie: MrcMovie) -> None:
        """Raise GainError if the frames of a movie are of another type or size."""
        ny, nx = self.estimate.gain.shape
        if movie.mrc_header.mode != MODE_FLOAT32 or movie.shape[1:] != (ny, nx):
            raise GainError(f"{movie.name}: its frames are not float32 of {ny} x {nx}; leave it out")

    def forget(self, name: str) -> None:
        """Drop a movie from the list because another one has its name now; its frames stay in the estimate."""
        self.frames_done.pop(name, None)
        self.stamps.pop(name, None)

    def _add_batch(self, movie: MrcMovie, batch: range, pool: Executor) -> list[FrameRow]:
        ny = self.estimate.gain.shape[0]

        def add_band(first: int, _: Report) -> Any:
            values = movie.stack(batch, first, min(first + _BAND_ROWS, ny))
            return self.estimate.update(first, values, self.thresh, self.tolerance)

        statistics = sum(results(Pooled(pool).run(add_band, range(0, ny, _BAND_ROWS))))
        rows = []
        for frame, figures in zip(batch, statistics, strict=True):
            self.reliable += int(figures[BECAME_RELIABLE])
            self.changes.append(int(figures[CHANGED]))
            self.unreliable.append(self.pixels - self.reliable)
            rows.append(
                FrameRow(
                    movie=movie.name,
                    frame=frame,
                    changed=int(figures[CHANGED]),
                    mismatch=int(figures[MISMATCH]),
                    negative=int(figures[NEGATIVE]),
                    unreliable=self.pixels - self.reliable,
                    pixels=self.pixels,
                )
            )
        self.frames_done[movie.name] = batch.stop
        return rows

    def set_thresh(self, thresh: int) -> None:
        """Count pixels as reliable from another threshold on."""
        if thresh != self.thresh:
            self.thresh = thresh
            self.reliable = int(np.count_nonzero(self.estimate.reliability >= thresh))
            self.unreliable.clear()

    def reference(self, pool: Executor, open_movie: OpenMovie = MrcMovie) -> GainReference:
        """Return the gain reference, of the arithmetic that serves the movies best."""
        used = {name: self.frames_done[name] for name in self.movies_used}
        return find_arithmetic(self.estimate.reference(), used, pool, open_movie)
