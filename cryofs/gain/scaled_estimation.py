"""Estimate the gain of movies of 16-bit integers that are scaled gain-normalised counts."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import CryofsError
from cryofs.execution.executor import Report, results
from cryofs.execution.threads import Pooled
from cryofs.gain.arithmetic import OpenMovie
from cryofs.gain.estimation import FrameRow
from cryofs.gain.samples import Sample, take_samples
from cryofs.gain.scaled import fit, step_of, usual_scale
from cryofs.kernels.lattice_estimate import BECAME_RELIABLE, CHANGED, MISMATCH, NEGATIVE, LatticeEstimate
from cryofs.movies.mrc import MrcMovie

_BATCH_FRAMES = 8
_BAND_ROWS = 32
# The gain is stable when so few of the values of the last frames changed a prediction.
_STABLE_SHARE = 2e-3
_MAX_FRAMES = 300
# More mismatches than defects cause: values may be truncated instead of rounded.
_MISMATCH_SHARE = 0.005
# Far more mismatches than in any movie of scaled counts.
_NO_GAIN_SHARE = 0.3


@dataclass
class ScaledEstimation:
    """An estimate of the gain, and what it was made from.

    Attributes
    ----------
    scale : float
        Factor between the reference and the values of a count.
    paths : list of Path
        Movies with frames in the estimate.
    frames : int
        Number of frames in the estimate.
    samples : list of Sample
        Samples of the first movie.
    """

    estimate: LatticeEstimate
    scale: float
    pixel_size: float | None
    samples: list[Sample]
    paths: list[Path] = field(default_factory=list)
    frames: int = 0
    seen: int = 0
    mismatches: int = 0
    reliable: int = 0
    is_stable: bool = False

    @classmethod
    def for_movie(cls, movie: MrcMovie, *, truncated: bool) -> "ScaledEstimation | None":
        """Return an empty estimate for frames of the size of a movie, or None if its values are not scaled counts."""
        if (step := step_of(movie)) is None:
            return None
        if truncated:
            step += 0.5
        _, ny, nx = movie.shape
        estimate = LatticeEstimate.empty(ny, nx, step, truncated=truncated)
        return cls(estimate, usual_scale(step), movie.mrc_header.pixel_size, take_samples(movie))

    @property
    def reference(self) -> NDArray[np.float32]:
        """The gain reference, 1.0 at defects and at pixels without values."""
        return self.estimate.reference(self.scale)

    @property
    def exceptions(self) -> float:
        """Share of the sampled counts that the reference does not restore."""
        return fit(self.reference, self.samples, self.estimate.typical).exceptions

    @property
    def continues(self) -> bool:
        """Whether more frames would improve the estimate."""
        return not (self.is_stable or self.lacks_common_gain or self.frames >= _MAX_FRAMES)

    @property
    def lacks_common_gain(self) -> bool:
        """Whether the values of pixels are not multiples of a step."""
        return self.mismatches > _NO_GAIN_SHARE * self.seen

    def matches(self, movie: MrcMovie) -> bool:
        """Return True if the movie has the gain of the estimate."""
        step = step_of(movie)
        return step is not None and fit(self.reference, take_samples(movie), step).matches

    def add_movie(self, path: Path, movie: MrcMovie, pool: Executor) -> Iterator[FrameRow]:
        """Add the frames of a movie until the estimate is stable, and yield figures for each frame."""
        self.paths.append(path)
        first, frames = 0, movie.shape[0]
        while first < frames and self.continues:
            batch = range(first, min(first + _BATCH_FRAMES, frames))
            yield from self._add_batch(movie, batch, pool)
            first = batch.stop

    def _add_batch(self, movie: MrcMovie, batch: range, pool: Executor) -> Iterator[FrameRow]:
        ny, pixels = movie.shape[1], movie.shape[1] * movie.shape[2]

        def add_band(first: int, _: Report) -> NDArray[np.int64]:
            return self.estimate.update(first, movie.stack(batch, first, min(first + _BAND_ROWS, ny)))

        statistics = np.sum(list(results(Pooled(pool).run(add_band, range(0, ny, _BAND_ROWS)))), axis=0)
        seen, changed, mismatches, *_ = statistics.sum(axis=0).tolist()
        self.frames += len(batch)
        self.seen += seen
        self.mismatches += mismatches
        self.is_stable = changed <= _STABLE_SHARE * seen
        for frame, figures in zip(batch, statistics, strict=True):
            self.reliable += int(figures[BECAME_RELIABLE])
            yield FrameRow(
                movie=movie.name,
                frame=frame,
                changed=int(figures[CHANGED]),
                mismatch=int(figures[MISMATCH]),
                negative=int(figures[NEGATIVE]),
                unreliable=pixels - self.reliable,
                pixels=pixels,
            )


def estimate_scaled(
    movies: Sequence[Path], open_movie: OpenMovie, pool: Executor, on_row: Callable[[FrameRow], None]
) -> ScaledEstimation | None:
    """Estimate the gain of the first movie from all movies with the same gain; all frames must have the same size.

    Returns
    -------
    ScaledEstimation or None
        The estimate, or None if the values of the first movie are not scaled gain-normalised counts.
    """
    rounded = _estimate(movies, open_movie, pool, on_row, truncated=False)
    if rounded is None or rounded.mismatches <= _MISMATCH_SHARE * rounded.seen:
        return rounded
    truncated = _estimate(rounded.paths, open_movie, pool, on_row, truncated=True)
    if truncated is None or truncated.exceptions >= rounded.exceptions:
        return rounded
    return truncated


def _estimate(
    movies: Sequence[Path],
    open_movie: OpenMovie,
    pool: Executor,
    on_row: Callable[[FrameRow], None],
    *,
    truncated: bool,
) -> ScaledEstimation | None:
    estimation: ScaledEstimation | None = None
    for path in movies:
        try:
            with open_movie(path) as movie:
                if estimation is None:
                    estimation = ScaledEstimation.for_movie(movie, truncated=truncated)
                    if estimation is None:
                        return None
                elif not estimation.matches(movie):
                    continue
                for row in estimation.add_movie(path, movie, pool):
                    on_row(row)
        except (CryofsError, OSError):
            continue  # archiving the movie reports the error
        if not estimation.continues:
            break
    return None if estimation is None or estimation.lacks_common_gain else estimation
