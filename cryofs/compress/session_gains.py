"""Provide the gain references of a run: estimate missing ones, and write them before the movies."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofs.compress.existing import MovieInfo
from cryofs.compress.movie_task import Archiver
from cryofs.errors import CryofsError
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.estimation import FrameRow
from cryofs.gain.match import matches
from cryofs.gain.references import References, best_scaled_match, estimate_from
from cryofs.gain.samples import take_samples
from cryofs.gain.scaled import SCALED_MODES, fit, step_of
from cryofs.gain.scaled_estimation import estimate_scaled
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.source import SourceMovie
from cryofs.text import counted

# Number of frames by mode below which a gain reference would take more than a third of the space of the movies.
_LEAST_FRAMES = {MODE_FLOAT32: 3} | dict.fromkeys(SCALED_MODES, 6)


class SessionGains:
    """Estimation and storage of the gain references that the movies of a run need.

    Parameters
    ----------
    on_row : callable
        Called with the statistics of each frame added to an estimate.
    note : callable
        Called with a message about each finished estimate.
    """

    def __init__(
        self, archiver: Archiver, pool: Executor, on_row: Callable[[FrameRow], None], note: Callable[[str], None]
    ):
        self._archiver = archiver
        self._references: References = archiver.references
        self._open = archiver.sources.open_mrc
        self._pool = pool
        self._on_row = on_row
        self._note = note
        # frame sizes for which the gain reference of EER movies is already in the archive
        self._eer_grids: set[tuple[int, int]] = set()

    def keep_for(self, movie: SourceMovie) -> None:
        """Write the gain reference of a rendered movie to the archive, with one factor for each pixel of a frame."""
        if movie.shape[1:] in self._eer_grids:
            return
        reference = movie.gain_reference(self._archiver.eer_gains)
        if reference is None:
            return
        with reference:
            self._references.write_eer(reference.header + reference.mrc_frame(0).tobytes())
        self._eer_grids.add(movie.shape[1:])

    def estimate_missing(self, infos: Iterable[MovieInfo]) -> None:
        """Estimate gain references for the gain-normalised movies that fit no existing reference, and report each one.

        A movie stays without a reference if it has too few frames for an estimate, or if no estimate fits it.
        """
        groups = defaultdict(list)
        for info in infos:
            if info.mode in _LEAST_FRAMES:
                groups[info.mode == MODE_FLOAT32, info.shape[1:]].append(info)
        # the reference of most movies of the run gets the plain name
        for (is_float, _), same in sorted(groups.items(), key=lambda item: -sum(info.bytes for info in item[1])):
            waiting = [info for info in (same if is_float else self._scaled(same)) if not self.fits(info)]
            while waiting and sum(info.shape[0] for info in waiting) >= _LEAST_FRAMES[waiting[0].mode]:
                estimated = self._estimate([info.path for info in waiting], is_float=is_float)
                # each attempt removes a movie, so the loop ends even if no reference fits
                first, *waiting = waiting
                if estimated and self.fits(first, estimated.reference):
                    added = self._references.add(estimated.reference, estimated.pixel_size)
                    self._note(estimated.report(added.record.name))
                    waiting = [info for info in waiting if not self.fits(info)]

    def candidates(self, infos: Iterable[MovieInfo]) -> list[MovieInfo]:
        """Return the movies that need a gain reference, by their values if they are integers."""
        groups = defaultdict(list)
        for info in infos:
            if info.mode in _LEAST_FRAMES:
                groups[info.mode == MODE_FLOAT32, info.shape[1:]].append(info)
        return [info for (is_float, _), same in groups.items() for info in (same if is_float else self._scaled(same))]

    def look_again(self) -> None:
        """Look for references that other runs have written since."""
        self._references.reload()

    def _scaled(self, infos: Sequence[MovieInfo]) -> Sequence[MovieInfo]:
        """Return the movies of scaled counts among movies of integers; none if three of them have other values."""
        few = {0: infos[0], len(infos) // 2: infos[len(infos) // 2], len(infos) - 1: infos[-1]}
        if not any(map(self._is_scaled, few.values())):
            return []
        return [info for info in infos if self._is_scaled(info)]

    def _is_scaled(self, info: MovieInfo) -> bool:
        try:
            with self._open(info.path) as movie:
                return step_of(movie) is not None
        except (CryofsError, OSError):
            return False  # storing this movie reports the error

    def _estimate(self, paths: Sequence[Path], *, is_float: bool) -> "_Estimated | None":
        if is_float:
            exact = estimate_from(paths, self._open, self._pool, self._on_row)
            if exact is None:
                return None
            reference = exact.reference(self._pool, self._open)
            without = int(np.count_nonzero(exact.estimate.reliability <= 0))
            return _Estimated(reference, exact.pixel_size, len(exact.frames_done), len(exact.changes), without)
        scaled = estimate_scaled(paths, self._open, self._pool, self._on_row)
        if scaled is None:
            return None
        without = int(np.count_nonzero(scaled.estimate.reliability <= 0))
        reference = GainReference(scaled.reference)
        return _Estimated(reference, scaled.pixel_size, len(scaled.paths), scaled.frames, without)

    def fits(self, info: MovieInfo, reference: GainReference | None = None) -> bool:
        """Return True if `reference` fits a movie; if it is None, return True if any reference of the archive does."""
        known = self._references.of_size(info.shape[1:])
        if reference is None and not known:
            return False
        try:
            with self._open(info.path) as movie:
                samples = take_samples(movie)
                if info.mode == MODE_FLOAT32:
                    if reference is None:
                        return self._references.best_match(info.shape[1:], samples) is not None
                    return matches(reference, samples)
                if reference is None:
                    return best_scaled_match(movie, known) is not None
                step = step_of(movie)
                return step is not None and fit(reference.gain, samples, step).matches
        except (CryofsError, OSError):
            return False  # storing this movie reports the error


@dataclass(frozen=True)
class _Estimated:
    """An estimated reference, and how many movies, frames and defects it has."""

    reference: GainReference
    pixel_size: float | None
    movies: int
    frames: int
    without: int

    def report(self, name: str) -> str:
        """Return the message about the estimate."""
        source = f"{counted(self.movies, 'movie')}, {self.frames} frames"
        return f"gain estimated from {source}: {name}, {self.without} pixels without a gain (defects)"
