"""Add frames to a gain estimate, report statistics for each frame, and decide when to stop."""

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
from cryofs.gain.match import matches_estimate
from cryofs.gain.samples import Sample
from cryofs.kernels.from_counts import GainReference
from cryofs.kernels.gain_estimate import BECAME_RELIABLE, CHANGED, MISMATCH, NEGATIVE, GainEstimate
from cryofs.movies.mrc import MrcMovie

DEFAULT_THRESH = 50
# Number of frames without a change of #Unreliable after which the estimate has settled.
SETTLED_FRAMES = 10
# Minimum number of frames for the decision whether the values of a movie have a common gain.
MIN_FRAMES_TO_JUDGE = 3

# Size of one task in bytes: a few megabytes, so that the state of the pixels stays in the processor's cache.
_BATCH_FRAMES = 8
_BAND_ROWS = 32
# The gain is stable if at most one pixel in a million has changed over this number of frames.
_QUIET_FRAMES = 16
_QUIET_SHARE = 1e-6


@dataclass(frozen=True)
class FrameRow:
    """Statistics of the effect of a frame on the estimate."""

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
    """Criterion for stopping before a limit is reached."""

    STABLE = "the gain no longer changes"
    SETTLED = "the gain and the number of unreliable pixels no longer change"
    ALL = "all frames have been read"


class Ending(Enum):
    """Reason why an estimate uses no more frames."""

    STABLE = "the gain no longer changes"
    SETTLED = f"#Unreliable has not changed for {SETTLED_FRAMES} frames"
    MAX_FRAMES = "reached the number of frames set by --max-frames"
    INTERRUPTED = "interrupted"
    NO_COMMON_GAIN = "the values have no common gain"
    READ = "all frames have been read"


@dataclass(frozen=True)
class Limits:
    """Limits for the frames that an estimate uses.

    Attributes
    ----------
    frames : int or None
        Maximum number of frames, including those of earlier runs; None for no limit.
    stop : callable
        Returns True to stop immediately.
    goal : Goal
        Criterion for stopping before the limits.
    min_frames : int
        Minimum number of frames, including those of earlier runs, before `goal` is checked.
    """

    frames: int | None = None
    stop: Callable[[], bool] = lambda: False
    goal: Goal = Goal.SETTLED
    min_frames: int = 0


@dataclass(eq=False)
class Estimation:
    """A gain estimate in progress; two of them are equal only if they are the same.

    Attributes
    ----------
    estimate : GainEstimate
        Gain and reliability of each pixel.
    thresh : int
        Minimum reliability of a reliable pixel.
    reliable : int
        Number of reliable pixels.
    changes, unreliable : list of int
        #Changed and #Unreliable after each frame; #Unreliable only since `thresh` was set.
    frames_done : dict
        Number of used frames of each movie with this gain, by absolute path; 0 for a movie that was only sampled.
    stamps : dict
        Size and mtime_ns of each movie in `frames_done`, by absolute path.
    tolerance : float
        Maximum difference between a value and the rounded product, in last bits; see `GainEstimate.update`.
    number : int
        Number of the estimate in its folder, starting with 1.
    names : list of str
        Current and earlier names of the reference file; empty for the first estimate, which has a fixed name.
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
        """Return an empty estimate for frames of the size of a movie."""
        if movie.mrc_header.mode != MODE_FLOAT32:
            text = f"{movie.name}: not a gain-normalised movie (expected float32, got {movie.mrc_header.dtype.name})"
            raise GainError(f"{text}; remove the movie from the sources")
        _, ny, nx = movie.shape
        empty = GainEstimate.empty(ny, nx)
        return cls(empty, thresh, pixel_size=movie.mrc_header.pixel_size, tolerance=tolerance, number=number)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Numbers of rows and columns of the frames."""
        ny, nx = self.estimate.gain.shape
        return ny, nx

    @property
    def pixels(self) -> int:
        """Number of pixels of a frame."""
        return self.estimate.gain.size

    @property
    def pixels_without_gain(self) -> int:
        """Number of pixels without a gain: defects, and pixels without counts."""
        return self.pixels - int(np.count_nonzero(self.estimate.reliability > 0))

    @property
    def movies_used(self) -> list[str]:
        """Movies with frames in the estimate."""
        return [name for name, frames in self.frames_done.items() if frames]

    @property
    def frames_used(self) -> int:
        """Number of frames in the estimate."""
        return len(self.changes)

    @property
    def stable(self) -> bool:
        """True if recent frames did not change the gain."""
        recent = self.changes[-_QUIET_FRAMES:]
        return len(recent) == _QUIET_FRAMES and sum(recent) <= self.pixels * _QUIET_SHARE

    @property
    def settled(self) -> bool:
        """True if recent frames changed neither the gain nor the number of unreliable pixels.

        It is False until the first pixels have enough counts, because #Unreliable keeps its initial maximum until then.
        """
        recent = self.unreliable[-SETTLED_FRAMES - 1 :]
        if len(recent) <= SETTLED_FRAMES or len(set(recent)) > 1 or not self.stable:
            return False
        return self.reliable > 0.5 * (self.pixels - self.pixels_without_gain)

    def lacks_common_gain(self, frames: int = _BATCH_FRAMES) -> bool:
        """Return True if the values of most pixels have no common divisor and thus are not gain-normalised counts.

        Return False if the estimate contains fewer than `frames` frames.
        """
        if len(self.changes) < frames:
            return False
        seen = np.count_nonzero(self.estimate.gain)
        return bool(np.count_nonzero(self.estimate.reliability < 0) > 0.5 * seen)

    def ending(self, limits: Limits) -> Ending | None:
        """Return the reason why the estimate uses no more frames, or None if it continues."""
        if limits.stop():
            return Ending.INTERRUPTED
        # only the first frames are checked, because checking all pixels after each batch would be slow
        minimum = _BATCH_FRAMES if limits.goal is Goal.STABLE else MIN_FRAMES_TO_JUDGE
        if len(self.changes) <= _BATCH_FRAMES and self.lacks_common_gain(minimum):
            return Ending.NO_COMMON_GAIN
        if limits.frames is not None and len(self.changes) >= limits.frames:
            return Ending.MAX_FRAMES
        if len(self.changes) < limits.min_frames:
            return None
        if limits.goal is Goal.STABLE and self.stable:
            return Ending.STABLE
        return Ending.SETTLED if limits.goal is Goal.SETTLED and self.settled else None

    def fits(self, samples: list[Sample]) -> bool:
        """Return True if samples of a movie match this gain."""
        return matches_estimate(self.estimate, samples, self.tolerance)

    def add_movie(self, movie: MrcMovie, pool: Executor, limits: Limits) -> Iterator[FrameRow]:
        """Add the unused frames of a movie until the estimate stops, and yield statistics for each frame.

        Raises
        ------
        GainError
            The frames are not float32, or their size differs from that of the estimate.
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
        """Raise GainError if the frames of a movie differ in type or size from the estimate."""
        ny, nx = self.frame_shape
        if movie.mrc_header.mode != MODE_FLOAT32 or movie.shape[1:] != (ny, nx):
            got = f"{movie.mrc_header.dtype.name} of {movie.shape[1]} x {movie.shape[2]}"
            text = f"{movie.name}: type or size mismatch of the frames (expected float32 of {ny} x {nx}, got {got})"
            raise GainError(f"{text}; remove the movie from the sources")

    def remove_movie(self, name: str) -> None:
        """Remove a movie whose file was replaced; its used frames remain in the estimate."""
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
        """Change the minimum reliability of a reliable pixel."""
        if thresh != self.thresh:
            self.thresh = thresh
            self.reliable = int(np.count_nonzero(self.estimate.reliability >= thresh))
            self.unreliable.clear()

    def reference(self, pool: Executor, open_movie: OpenMovie = MrcMovie) -> GainReference:
        """Return the gain reference with the arithmetic that restores most values of the movies."""
        used = {name: self.frames_done[name] for name in self.movies_used}
        return find_arithmetic(self.estimate.reference(), used, pool, open_movie)
