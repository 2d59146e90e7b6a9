"""Read the bytes of movies in order, with frames decoded in advance and verified."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cryofs.movies.frame_runs import frames_of_run
from cryofs.movies.movie import Movie

# Number of frames, or runs of small frames, that are decoded in advance; the movie's own pool decodes their strips.
_AHEAD = 2
_TRAILING_PIECE = 16 << 20


def checked_frames(movie: Movie) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of each frame (uint8, shape (n,)), in order; raise DamagedError for a damaged frame."""
    for run in _checked_runs(movie):
        yield from run.reshape(-1, movie.layout.frame_bytes)


def _checked_runs(movie: Movie) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of all frames (uint8) in order, with the frames of a run in one array."""
    size = frames_of_run(movie)
    starts = iter(range(0, movie.layout.frames, size))
    with ThreadPoolExecutor(_AHEAD) as readers:

        def begin(first: int) -> Future[NDArray[np.uint8]]:
            if size == 1:
                return readers.submit(movie.mrc_frame, first)
            return readers.submit(movie.mrc_run, range(first, min(first + size, movie.layout.frames)))

        coming = deque(begin(first) for first in itertools.islice(starts, _AHEAD))
        while coming:
            raw = coming.popleft().result()
            coming.extend(begin(first) for first in itertools.islice(starts, 1))
            yield raw


def original_bytes(movie: Movie) -> Iterator[bytes | NDArray[np.uint8]]:
    """Yield all bytes of the MRC file in order: header, frames (uint8, flat), trailing bytes."""
    yield movie.header
    yield from _checked_runs(movie)
    offset = 0
    while piece := movie.read_trailing(_TRAILING_PIECE, offset):
        yield piece
        offset += len(piece)
