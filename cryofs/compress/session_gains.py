"""Provide the gain references of a run: estimate missing ones, and write them before the movies."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

import numpy as np

from cryofs.compress.existing import MovieInfo
from cryofs.compress.movie_task import Archiver
from cryofs.errors import CryofsError
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.estimation import Estimation, FrameRow
from cryofs.gain.match import matches
from cryofs.gain.references import References, estimate_from
from cryofs.gain.samples import take_samples
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.source import SourceMovie

# Number of frames below which a gain reference would take as much space as the movies.
_MIN_FRAMES_TO_ESTIMATE = 3


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
        by_size = defaultdict(list)
        for info in infos:
            if info.mode == MODE_FLOAT32:
                by_size[info.shape[1:]].append(info)
        # the reference of most movies of the run gets the plain name
        for same_size in sorted(by_size.values(), key=lambda infos: -sum(info.bytes for info in infos)):
            waiting = [info for info in same_size if not self.fits(info)]
            while sum(info.shape[0] for info in waiting) >= _MIN_FRAMES_TO_ESTIMATE:
                paths = [info.path for info in waiting]
                estimation = estimate_from(paths, self._open, self._pool, self._on_row)
                reference = estimation and estimation.reference(self._pool, self._open)
                # each attempt removes a movie, so the loop ends even if no reference fits
                first, *waiting = waiting
                if estimation and reference and self.fits(first, reference):
                    added = self._references.add(reference, estimation.pixel_size)
                    self._note(_result(estimation, added.record.name))
                    waiting = [info for info in waiting if not self.fits(info)]

    def look_again(self) -> None:
        """Look for references that other runs have written since."""
        self._references.reload()

    def fits(self, info: MovieInfo, reference: GainReference | None = None) -> bool:
        """Return True if `reference` fits a movie; with None, if any reference of the archive does."""
        if reference is None and not self._references.of_size(info.shape[1:]):
            return False
        try:
            with self._open(info.path) as movie:
                samples = take_samples(movie)
        except (CryofsError, OSError):
            return False  # storing this movie reports the error
        if reference is None:
            return self._references.best_match(info.shape[1:], samples) is not None
        return matches(reference, samples)


def _result(estimation: Estimation, name: str) -> str:
    """Return the message about a finished estimate: numbers of movies, frames and defects."""
    movies, frames = len(estimation.frames_done), len(estimation.changes)
    without = int(np.count_nonzero(estimation.estimate.reliability <= 0))
    source = f"{movies} movie{'s' if movies > 1 else ''}, {frames} frames"
    return f"gain estimated from {source}: {name}, {without} pixels without a gain (defects)"
