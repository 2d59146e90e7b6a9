"""Which arithmetic made the values of gain-normalised movies: found by trying, once their gain is known nearly."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import CryofsError
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.match import exception_share
from cryofs.gain.samples import take_samples
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.kernels.gain_refine import Refinement
from cryofs.movies.mrc import MrcMovie

# With fewer exceptions than this share, multiplication in float32 is what the camera software does.
_SINGLE_SHARE = 1e-3
_BAND_ROWS = 32
_BATCH_FRAMES = 8
_Seen = TypeVar("_Seen")


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
    samples = list(_look(frames, gain.shape, lambda movie, _: iter(take_samples(movie))))
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

        def stacks(movie: MrcMovie, count: int) -> Iterator[NDArray[Any]]:
            for start in range(0, count, _BATCH_FRAMES):
                yield movie.stack(range(start, min(start + _BATCH_FRAMES, count)), first, end)

        for values in _look(frames, gain.shape, stacks):
            refinement.update(values)
        return refinement.references()

    bands = list(pool.map(refine, range(0, len(gain), _BAND_ROWS)))
    return {arithmetic: _joined([band[arithmetic] for band in bands]) for arithmetic in bands[0]}


def _joined(bands: list[GainReference]) -> GainReference:
    details: list[Any] = [band.detail for band in bands]
    return GainReference(np.concatenate([band.gain for band in bands]), bands[0].arithmetic, np.concatenate(details))


def _look(
    frames: Mapping[str, int], shape: tuple[int, ...], look: Callable[[MrcMovie, int], Iterator[_Seen]]
) -> Iterator[_Seen]:
    """What is seen in the movies that can still be read; archiving the others will say what is wrong with them."""
    for path, count in frames.items():
        try:
            with MrcMovie(Path(path)) as movie:
                # another file may have taken the name since
                if movie.mrc_header.mode == MODE_FLOAT32 and movie.shape[1:] == shape and movie.shape[0] >= count:
                    yield from look(movie, count)
        except (CryofsError, OSError):
            continue
