"""The gain references of an archive: which one serves a movie, and adding new ones."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cryofs.errors import CryofsError, GainError
from cryofs.formats.archive_names import (
    EER_GAIN_REFERENCE,
    GAIN_REFERENCE,
    later_eer_reference_name,
    later_reference_name,
)
from cryofs.formats.record import Gain
from cryofs.gain.estimation import Estimation, FrameRow, Limits
from cryofs.gain.match import exception_share, fits
from cryofs.gain.samples import Sample
from cryofs.kernels.from_counts import GainReference
from cryofs.movies import gain_library
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.atomic_file import regular_file, write_file

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
        # what paths(folder) hold, by folder
        self._sums: dict[Path, set[str]] = {}
        self.damaged: list[CryofsError] = []

    @cached_property
    def _known(self) -> list[Reference]:
        """Loaded only once a movie may need one; a damaged one serves no movie, and is no reason to store none."""
        known = []
        for path in self._library.paths(self._root):
            try:
                known.append(self._load(path))
            except CryofsError as error:
                self.damaged.append(error)
        return known

    def of_size(self, shape: tuple[int, int]) -> list[Reference]:
        """The references for frames of a size."""
        return [one for one in self._known if one.gain.shape == shape]

    def serve(self, folder: Path, needed: Gain) -> bool:
        """Whether movies in a folder of the archive, read there, find the reference that they need."""
        if folder not in self._sums:
            self._sums[folder] = {self._library.sha256(path) for path in self._library.paths(folder)}
        return needed.sha256 in self._sums[folder]

    def fitting(self, shape: tuple[int, int], samples: list[Sample]) -> Reference | None:
        """The reference that leaves the fewest exceptions in the samples, None where all leave too many."""
        serving = [one for one in self.of_size(shape) if fits(one.gain, samples)]
        return min(serving, key=lambda one: exception_share(one.gain, samples), default=None)

    def take_in(self, path: Path) -> Reference:
        """Take a gain reference file into the archive, unless its content is there."""
        given = gain_library.load_reference(path).gain
        if not (np.isfinite(given) & (given > 0)).any():
            raise GainError(f"{path}: no value of this gain reference is above 0; give the right one, or --gain auto")
        data = path.read_bytes()
        sha256 = gain_library.bytes_sha256(data)
        for reference in self._known:
            if reference.record.sha256 == sha256:
                return reference
        return self._store(data)

    def add(self, reference: GainReference, pixel_size: float | None) -> Reference:
        """Write an estimated reference into the archive."""
        return self._store(gain_library.reference_file(reference, pixel_size))

    def keep_eer(self, data: bytes) -> None:
        """Write the gain reference of rendered EER movies, under a longer name where another has the plain one."""
        self._write(data, EER_GAIN_REFERENCE, later_eer_reference_name)

    def _store(self, data: bytes) -> Reference:
        reference = self._load(self._write(data, GAIN_REFERENCE, later_reference_name))
        self._known.append(reference)
        return reference

    def _write(self, data: bytes, first: str, later: Callable[[str], str]) -> Path:
        """Write a reference under a free name, unless it is there; another run may do so at the same time."""
        target = self._root / first
        try:
            if not _has(target, data):
                write_file(target, data, new=True)
        except FileExistsError:
            if not _has(target, data):
                target = self._root / later(gain_library.bytes_sha256(data))
                # what has the name of this content and is not it was damaged
                if not _has(target, data):
                    write_file(target, data)
        return target

    def _load(self, path: Path) -> Reference:
        try:
            reference = gain_library.load_reference(path)
            return Reference(Gain(self._library.sha256(path), path.name, reference.arithmetic.value), reference)
        except OSError as error:
            raise GainError(f"{path}: the gain reference cannot be read ({error.strerror})") from error


def _has(target: Path, data: bytes) -> bool:
    """Whether a file of the archive has this content; a link is none of its files."""
    return regular_file(target) is not None and target.read_bytes() == data


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
