"""Which arithmetic made the values of gain-normalised movies: found by trying, once their gain is known nearly."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.archive.fitting import exception_share
from cryofs.archive.samples import take_samples
from cryofs.detector.refine import Refinement
from cryofs.detector.values import Arithmetic, GainReference
from cryofs.errors import CryofsError
from cryofs.movies.mrc import MrcMovie

# With fewer exceptions than this share, multiplication in float32 is what the camera software does.
_SINGLE_SHARE = 1e-3
_BAND_ROWS = 32
_BATCH_FRAMES = 8


def find_arithmetic(gain: NDArray[np.float32], frames: Mapping[str, int], pool: Executor) -> GainReference:
    """The reference that restores the most values of some movies, of all kinds of arithmetic; the simplest of equals.

    Parameters
    ----------
    gain : ndarray of float32, shape (ny, nx)
        The gain, nearly; 1.0 at defects.
    frames : mapping
        The movies, by path, and how many of their first frames to look at.
    """
    single = GainReference(gain)
    samples = [sample for movie, _ in _opened(frames) for sample in take_samples(movie)]
    if not samples or exception_share(single, samples) <= _SINGLE_SHARE:
        return single
    refined = _refined(gain, frames, pool)
    simplest_first = (single, refined[Arithmetic.RECIPROCAL], refined[Arithmetic.DOUBLE])
    return min(simplest_first, key=lambda reference: exception_share(reference, samples))


def _refined(gain: NDArray[np.float32], frames: Mapping[str, int], pool: Executor) -> dict[Arithmetic, GainReference]:
    """References of the other kinds, made by looking at all frames band by band."""

    def refine(first: int) -> dict[Arithmetic, GainReference]:
        end = min(first + _BAND_ROWS, len(gain))
        refinement = Refinement.of(gain[first:end])
        for movie, count in _opened(frames):
            for start in range(0, count, _BATCH_FRAMES):
                refinement.update(movie.stack(range(start, min(start + _BATCH_FRAMES, count)), first, end))
        return refinement.references()

    bands = list(pool.map(refine, range(0, len(gain), _BAND_ROWS)))
    return {arithmetic: _joined([band[arithmetic] for band in bands]) for arithmetic in bands[0]}


def _joined(bands: list[GainReference]) -> GainReference:
    details: list[Any] = [band.detail for band in bands]
    return GainReference(np.concatenate([band.gain for band in bands]), bands[0].arithmetic, np.concatenate(details))


def _opened(frames: Mapping[str, int]) -> Iterator[tuple[MrcMovie, int]]:
    """The movies that can still be read; archiving the others will say what is wrong with them."""
    for path, count in frames.items():
        try:
            movie = MrcMovie(Path(path))
        except (CryofsError, OSError):
            continue
        with movie:
            yield movie, count
