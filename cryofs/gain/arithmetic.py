"""Determine the arithmetic that produced the values of gain-normalised movies, by trying each kind."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import CryofsError
from cryofs.execution.executor import Report, results
from cryofs.execution.threads import Pooled
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.match import exception_share
from cryofs.gain.samples import take_samples
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.kernels.gain_refine import Refinement
from cryofs.movies.mrc import MrcMovie

# Share of exceptions below which the camera software multiplied in float32.
_SINGLE_SHARE = 1e-3
_BAND_ROWS = 32
_BATCH_FRAMES = 8
_Result = TypeVar("_Result")

# Opens a movie until the context ends.
OpenMovie = Callable[[Path], AbstractContextManager[MrcMovie]]


def find_arithmetic(
    gain: NDArray[np.float32], frames: Mapping[str, int], pool: Executor, open_movie: OpenMovie = MrcMovie
) -> GainReference:
    """Return the reference with the arithmetic that restores most values; on a tie, the simplest arithmetic.

    Parameters
    ----------
    gain : ndarray of float32, shape (ny, nx)
        Approximate gain; 1.0 at defects.
    frames : mapping
        Number of frames to use from the start of each movie, by path.
    """
    single = GainReference(gain)
    samples = list(_from_movies(open_movie, frames, gain.shape, lambda movie, _: iter(take_samples(movie))))
    if not samples or exception_share(single, samples) <= _SINGLE_SHARE:
        return single
    refined = _refined(gain, frames, pool, open_movie)
    simplest_first = (single, refined[Arithmetic.RECIPROCAL], refined[Arithmetic.DOUBLE])
    return min(simplest_first, key=lambda reference: exception_share(reference, samples))


def _refined(
    gain: NDArray[np.float32], frames: Mapping[str, int], pool: Executor, open_movie: OpenMovie
) -> dict[Arithmetic, GainReference]:
    """Return the best reference for each other kind of arithmetic, refined with the row blocks of all frames."""

    def refine(first: int, _: Report) -> dict[Arithmetic, GainReference]:
        end = min(first + _BAND_ROWS, len(gain))
        refinement = Refinement.of(gain[first:end])

        def stacks(movie: MrcMovie, count: int) -> Iterator[NDArray[Any]]:
            for start in range(0, count, _BATCH_FRAMES):
                yield movie.stack(range(start, min(start + _BATCH_FRAMES, count)), first, end)

        for values in _from_movies(open_movie, frames, gain.shape, stacks):
            refinement.update(values)
        return refinement.references()

    bands = list(results(Pooled(pool).run(refine, range(0, len(gain), _BAND_ROWS))))
    return {arithmetic: _joined([band[arithmetic] for band in bands]) for arithmetic in bands[0]}


def _joined(bands: list[GainReference]) -> GainReference:
    details: list[Any] = [band.detail for band in bands]
    return GainReference(np.concatenate([band.gain for band in bands]), bands[0].arithmetic, np.concatenate(details))


def _from_movies(
    open_movie: OpenMovie,
    frames: Mapping[str, int],
    shape: tuple[int, ...],
    read: Callable[[MrcMovie, int], Iterator[_Result]],
) -> Iterator[_Result]:
    """Yield the results of `read` for each movie; skip unreadable movies, which are reported when they are archived."""
    for path, count in frames.items():
        try:
            with open_movie(Path(path)) as movie:
                # the file may have been replaced by that of another movie
                if movie.mrc_header.mode == MODE_FLOAT32 and movie.shape[1:] == shape and movie.shape[0] >= count:
                    yield from read(movie, count)
        except (CryofsError, OSError):
            continue
