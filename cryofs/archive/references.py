"""The gain references of an archive: which one serves a movie, and adding new ones."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofs.archive.durable import write_file
from cryofs.archive.estimate import Estimation, FrameRow, Limits
from cryofs.archive.samples import Sample
from cryofs.detector import counts
from cryofs.detector.values import GainReference
from cryofs.errors import CryofsError
from cryofs.formats.record import Gain
from cryofs.movies import gain
from cryofs.movies.gain import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.names import (
    EER_GAIN_REFERENCE,
    GAIN_REFERENCE,
    later_eer_reference_name,
    later_reference_name,
)

# A reference serves a movie when no more than this share of its counts are exceptions: far above defects, above what a
# camera leaves that rounded in another way (7 % at 1.45 e/px), far below what another gain leaves (nearly all).
_FITTING_SHARE = 0.25
# Estimating takes at most this many frames, so that movies that never settle do not hold up a run.
_MAX_FRAMES = 1000


@dataclass(frozen=True)
class Reference:
    """A gain reference in the archive, and how records name it."""

    record: Gain
    gain: GainReference


class References:
    """Gain references of the archive at `root`, those that are there and those that this run adds."""

    def __init__(self, root: Path):
        self._root = root
        self._library = GainLibrary(root)
        self._known = [self._load(path) for path in self._library.paths(root)]

    def fitting(self, shape: tuple[int, int], samples: list[Sample]) -> Reference | None:
        """The reference that leaves the fewest exceptions in the samples, None where all leave too many."""
        shares = [
            (exception_share(reference.gain, samples), number)
            for number, reference in enumerate(self._known)
            if reference.gain.shape == shape
        ]
        best = min(shares, default=(1.0, -1))
        return self._known[best[1]] if best[0] <= _FITTING_SHARE else None

    def adopt(self, path: Path) -> Reference:
        """Take a gain reference file into the archive, unless its content is there."""
        data = path.read_bytes()
        sha256 = gain.bytes_sha256(data)
        for reference in self._known:
            if reference.record.sha256 == sha256:
                return reference
        gain.load_reference(path)
        return self._store(data)

    def add(self, estimation: Estimation) -> Reference:
        """Write an estimated reference into the archive."""
        return self._store(estimation.reference_file())

    def keep_eer(self, data: bytes) -> None:
        """Write the gain reference of rendered EER movies, under a longer name where another has the plain one."""
        target = self._root / EER_GAIN_REFERENCE
        if target.exists() and target.read_bytes() != data:
            target = self._root / later_eer_reference_name(gain.bytes_sha256(data))
        if not target.exists():
            write_file(target, data)

    def _store(self, data: bytes) -> Reference:
        """Write a reference under a free name; another run may take one at the same time."""
        target = self._root / GAIN_REFERENCE
        try:
            write_file(target, data, new=True)
        except FileExistsError:
            target = self._root / later_reference_name(gain.bytes_sha256(data))
            write_file(target, data)
        return self._remember(target)

    def _remember(self, path: Path) -> Reference:
        reference = self._load(path)
        self._known.append(reference)
        return reference

    def _load(self, path: Path) -> Reference:
        return Reference(Gain(self._library.sha256(path), path.name), gain.load_reference(path))


def exception_share(reference: GainReference, samples: list[Sample]) -> float:
    """Share of the sampled counts that are not count x gain, where the reference knows a gain.

    Zeros belong to any gain, and 1.0 stands for pixels that are defects or have shown nothing yet; where only such
    pixels were sampled, they are what counts.
    """
    exceptions = np.zeros(2, int)
    counted = np.zeros(2, int)
    for sample in samples:
        wrong = np.zeros(sample.values.size, bool)
        found = counts.divide(sample.values, reference, sample.rows, np.dtype("u2")).exceptions
        wrong[found.positions] = wrong[found.near] = True
        shown = (sample.values != 0).reshape(-1)
        known = (reference.gain[sample.rows] != 1).reshape(-1)
        exceptions += np.count_nonzero(wrong & known), np.count_nonzero(wrong)
        counted += np.count_nonzero(shown & known), np.count_nonzero(shown | wrong)
    known_or_all = 0 if counted[0] else 1
    return float(exceptions[known_or_all] / max(counted[known_or_all], 1))


def fits(reference: GainReference, samples: list[Sample]) -> bool:
    """Whether a reference serves the movie that the samples are of."""
    return exception_share(reference, samples) <= _FITTING_SHARE


def estimate_from(
    movies: Iterable[Path],
    samples: Callable[[MrcMovie], list[Sample]],
    pool: Executor,
    on_row: Callable[[FrameRow], None],
) -> Estimation | None:
    """Estimate the gain of the first of these movies, all with frames of one size.

    A movie that the estimate so far does not fit has another gain and is passed over.

    Returns
    -------
    Estimation or None
        None where the first movie shows no common gain.
    """
    estimation: Estimation | None = None
    for path in movies:
        try:
            with MrcMovie(path) as movie:
                if estimation is None:
                    estimation = Estimation.for_movie(movie)
                elif not fits(GainReference(estimation.estimate.reference()), samples(movie)):
                    continue
                for row in estimation.add_movie(movie, pool, Limits(_MAX_FRAMES)):
                    on_row(row)
        except (CryofsError, OSError):
            continue  # archiving this movie will say what is wrong with it
        if estimation.hopeless:
            return None
        if estimation.stable:
            break
    return estimation
