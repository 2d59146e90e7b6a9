"""Read a few rows of a movie as samples, which determine how compress stores the movie."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from cryofs.movies.source import SourceMovie

_ROWS = 64
_PLACES = 3


@dataclass(frozen=True)
class Sample:
    """Some rows of a frame and their values, shape (rows, nx)."""

    rows: slice
    values: NDArray[Any]


# Samples of open movies, so that they are read once as long as a movie stays open.
_taken: MutableMapping[SourceMovie, list[Sample]] = WeakKeyDictionary()


def take_samples(movie: SourceMovie) -> list[Sample]:
    """Return samples from the bottom of the first frame, the middle of the middle frame and the top of the last frame.

    The samples of an open movie are read once.
    """
    if (samples := _taken.get(movie)) is None:
        frames, ny, _ = movie.shape
        height = min(_ROWS, ny)
        places = {0: 0, frames // 2: (ny - height) // 2, frames - 1: ny - height}
        samples = _taken[movie] = [
            Sample(slice(first, first + height), movie.rows(frame, first, first + height))
            for frame, first in places.items()
        ]
    return samples


def samples_taken(movie: SourceMovie) -> list[Sample] | None:
    """Return the samples of a movie if they are in memory, otherwise None."""
    return _taken.get(movie)


def keep_samples(movie: SourceMovie, samples: list[Sample]) -> None:
    """Store samples that another process took from the same file, so that they are not read again."""
    _taken[movie] = samples


def sampled_bytes(movie: SourceMovie) -> int:
    """Return the maximum size of the samples of a movie in memory, in bytes."""
    return _PLACES * _ROWS * movie.mrc_header.row_bytes
