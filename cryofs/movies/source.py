"""Movies that can be archived: those that are read from a file which may still change."""

import os
from abc import abstractmethod
from typing import Any

from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.formats import mrc
from cryofs.movies.movie import Movie


class SourceMovie(Movie):
    """A movie in a file of its own.

    Attributes
    ----------
    descriptor : int
        The open file.
    stat : os.stat_result
        What it was when it was opened.
    whole_frames : bool
        Whether some rows cost as much as the whole frame, so that frames should be asked for whole.
    """

    whole_frames = False

    descriptor: int
    stat: os.stat_result

    @abstractmethod
    def raw_rows(self, index: int, first: int, end: int) -> NDArray[Any]:
        """Bytes of the frame rows `first` to `end` (exclusive), shape (n,)."""

    def rows(self, index: int, first: int, end: int) -> NDArray[Any]:
        """Values of the frame rows `first` to `end`, shape (rows, nx)."""
        header = self.mrc_header
        return mrc.frame_values(self.raw_rows(index, first, end), header)[:, : header.nx]

    @property
    def state(self) -> tuple[int, int]:
        """Size and mtime_ns that the file had when it was opened."""
        return self.stat.st_size, self.stat.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise ChangedError where the file was written to since it was opened."""
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != self.state:
            raise ChangedError(f"{self.name}: changed while it was read; wait until it is written, then try again")

    def close(self) -> None:
        """Release the file."""
        os.close(self.descriptor)
