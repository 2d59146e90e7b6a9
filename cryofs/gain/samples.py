"""A few strips of a movie, used to decide how to store it."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cryofs.movies.source import SourceMovie

_ROWS = 64


@dataclass(frozen=True)
class Sample:
    """Complete rows of a frame, and their values with shape (rows, nx)."""

    rows: slice
    values: NDArray[Any]


def take_samples(movie: SourceMovie) -> list[Sample]:
    """Return samples of the bottom of the first frame, the middle of the middle frame and the top of the last."""
    frames, ny, _ = movie.shape
    height = min(_ROWS, ny)
    places = {0: 0, frames // 2: (ny - height) // 2, frames - 1: ny - height}
    return [
        Sample(slice(first, first + height), movie.rows(frame, first, first + height))
        for frame, first in places.items()
    ]
