"""Runs of small frames: consecutive frames of a movie that are read, decoded and cached together.

For frames of a few kilobytes, a thread switch, a lock and a system call for each would take longer than decoding.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.movies.movie import EncodedFrame, Movie
from cryofs.system.resources import usable_cores

# Size of a run in the MRC file, and the largest frame that is part of a run.
RUN_BYTES = 1 << 20
_SMALL_FRAME_BYTES = 256 << 10


def frames_of_run(movie: Movie) -> int:
    """Return the number of frames in a run, which is 1 for large frames."""
    layout = movie.layout
    if layout.frame_bytes > _SMALL_FRAME_BYTES:
        return 1
    # the run of a short movie ends with the movie, so that no more memory than its size is allocated
    return max(1, min(RUN_BYTES // layout.frame_bytes, layout.frames))


class FrameRuns:
    """The runs of a movie in the role of frames of a cache: each has the number of its first frame.

    Parameters
    ----------
    movie : Movie
        The movie to read.
    frames : int
        Number of frames in a run.
    """

    def __init__(self, movie: Movie, frames: int):
        self._movie = movie
        self._frames = frames
        self.name = movie.name
        self.identity: tuple[Hashable, ...] = (*movie.identity, frames)

    @property
    def decodes_at_once(self) -> int:
        """Number of runs to decode at the same time: one for each core, because a run is decoded on one core."""
        return usable_cores()

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size of a decoded run in bytes; the last run of a movie may be smaller."""
        return self._frames * self._movie.layout.frame_bytes

    def read_frame(self, index: int, rows: range | None = None) -> EncodedFrame:
        """Read the run that begins with frame `index`."""
        return self._movie.read_run(range(index, min(index + self._frames, self._movie.layout.frames)))

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return `size` bytes of the MRC file (uint8, shape (n,)) from byte `start` of a decoded run."""
        return decoded[start : start + size]
