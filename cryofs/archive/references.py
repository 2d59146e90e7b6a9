"""The gain references of an archive: which one serves a movie, and adding new ones."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofs.archive.durable import write_file
from cryofs.archive.estimate import Estimation, FrameRow, Limits
from cryofs.archive.fitting import exception_share, fits
from cryofs.archive.samples import Sample
from cryofs.detector.values import GainReference
from cryofs.errors import CryofsError, GainError
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

# Estimating takes at most this many frames, so that movies that never settle do not hold up a run.
_MAX_FRAMES = 1000
# More pixels than any detector has defects.
_DEFECTS_SHARE = 0.01
# Steps of the last bit that two roundings more than needed may cost.
_ROUNDED_TWICE = 2.0


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

    def of_size(self, shape: tuple[int, int]) -> list[Reference]:
        """The references for frames of a size."""
        return [one for one in self._known if one.gain.shape == shape]

    def fitting(self, shape: tuple[int, int], samples: list[Sample]) -> Reference | None:
        """The reference that leaves the fewest exceptions in the samples, None where all leave too many."""
        serving = [one for one in self.of_size(shape) if fits(one.gain, samples)]
        return min(serving, key=lambda one: exception_share(one.gain, samples), default=None)

    def adopt(self, path: Path) -> Reference:
        """Take a gain reference file into the archive, unless its content is there."""
        given = gain.load_reference(path).gain
        if not (np.isfinite(given) & (given > 0)).any():
            raise GainError(f"{path}: no value of this gain reference is above 0; give the right one, or --gain auto")
        data = path.read_bytes()
        sha256 = gain.bytes_sha256(data)
        for reference in self._known:
            if reference.record.sha256 == sha256:
                return reference
        return self._store(data)

    def add(self, reference: GainReference, pixel_size: float | None) -> Reference:
        """Write an estimated reference into the archive."""
        return self._store(gain.reference_file(reference, pixel_size))

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
            # another run may have come to the same reference
            if target.read_bytes() != data:
                target = self._root / later_reference_name(gain.bytes_sha256(data))
                write_file(target, data)
        return self._remember(target)

    def _remember(self, path: Path) -> Reference:
        reference = self._load(path)
        self._known.append(reference)
        return reference

    def _load(self, path: Path) -> Reference:
        reference = gain.load_reference(path)
        return Reference(Gain(self._library.sha256(path), path.name, reference.arithmetic.value), reference)


def estimate_from(
    movies: Sequence[Path],
    samples: Callable[[MrcMovie], list[Sample]],
    pool: Executor,
    on_row: Callable[[FrameRow], None],
) -> Estimation | None:
    """Estimate the gain of the first of these movies, all with frames of one size.

    A movie that the estimate so far does not fit has another gain and is passed over. Where more pixels than defects
    show no common gain, values may have been rounded more than once, which a second try allows for.

    Returns
    -------
    Estimation or None
        None where the first movie shows no common gain.
    """
    exact = _estimate(movies, 0, samples, pool, on_row)
    if exact is not None and exact.estimate.share_without_gain <= _DEFECTS_SHARE:
        return exact
    rounded = _estimate(movies, _ROUNDED_TWICE, samples, pool, on_row)
    found = [estimation for estimation in (exact, rounded) if estimation is not None]
    return min(found, key=lambda estimation: estimation.estimate.share_without_gain, default=None)


def _estimate(
    movies: Sequence[Path],
    tolerance: float,
    samples: Callable[[MrcMovie], list[Sample]],
    pool: Executor,
    on_row: Callable[[FrameRow], None],
) -> Estimation | None:
    estimation: Estimation | None = None
    for path in movies:
        try:
            with MrcMovie(path) as movie:
                if estimation is None:
                    estimation = Estimation.for_movie(movie, tolerance=tolerance)
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
