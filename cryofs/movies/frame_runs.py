"""Runs of small frames: consecutive frames of a movie that are read, decoded and cached together.

A thread, a lock and a system call for each frame would take longer than decoding frames of a few kilobytes.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.movies.movie import EncodedFrame, Movie
from cryofs.system.resources import usable_cores

# Size of a run in the MRC file, and the frames that are small enough for runs.
RUN_BYTES = 1 << 20
_SMALL_FRAME_BYTES = 256 << 10


def frames_of_run(movie: Movie) -> int:
    """Return how many frames of a movie are read together; one if they are large."""
    layout = movie.layout
    if layout.frame_bytes > _SMALL_FRAME_BYTES:
        return 1
    # the run of a short movie ends with the movie, so that memory of its size is enough
    return max(1, min(RUN_BYTES // layout.frame_bytes, layout.frames))


class FrameRuns:
    """The runs of a movie, as a frame cache takes frames: each under the number of its first frame.

    Parameters
    ----------
    frames : int
        Frames of a run.
    """

    def __init__(self, movie: Movie, frames: int):
        self._movie = movie
        self._frames = frames
        self.name = movie.name
        self.identity: tuple[Hashable, ...] = (*movie.identity, frames)

    @property
    def decodes_at_once(self) -> int:
        """One core decodes a run, so several runs are decoded at the same time."""
        return usable_cores()

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the bytes of memory of a decoded run; the last run of a movie may take less."""
        return self._frames * self._movie.layout.frame_bytes

    def read_frame(self, index: int, rows: range | None = None) -> EncodedFrame:
        """Read the run that begins with a frame."""
        return self._movie.read_run(range(index, min(index + self._frames, self._movie.layout.frames)))

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return bytes of the MRC file from a decoded run, fewer if it ends before; `memory` is not needed."""
        return decoded[start : start + size]
