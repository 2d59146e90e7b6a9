"""The bytes of movies in order, decoded ahead and checked."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cryofs.movies.movie import Movie

# Frames being decoded besides the one that is used; their strips are decoded in the movie's own pool.
_AHEAD = 2
_TRAILING_PIECE = 16 << 20


def checked_frames(movie: Movie) -> Iterator[NDArray[np.uint8]]:
    """Bytes of all frames in order, decoded ahead. A damaged frame raises DamagedError."""
    with ThreadPoolExecutor(_AHEAD) as readers:
        coming = deque(readers.submit(movie.mrc_frame, index) for index in range(min(_AHEAD, movie.layout.frames)))
        for index in range(movie.layout.frames):
            raw = coming.popleft().result()
            if index + _AHEAD < movie.layout.frames:
                coming.append(readers.submit(movie.mrc_frame, index + _AHEAD))
            yield raw


def original_bytes(movie: Movie) -> Iterator[bytes | NDArray[np.uint8]]:
    """All bytes of the MRC file in order, in large pieces."""
    yield movie.header
    yield from checked_frames(movie)
    offset = 0
    while piece := movie.read_trailing(_TRAILING_PIECE, offset):
        yield piece
        offset += len(piece)
