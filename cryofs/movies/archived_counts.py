"""Archived gain-normalised movies as the counts that are stored: integers, to be multiplied with the gain reference.

Where the original value was no product of a count and the gain (an exception), a count is the nearest whole number.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.record import Record
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.movie import Movie

# MRC has no unsigned 8-bit type that all programs agree on.
_MODES = {"int8": 0, "uint8": 1, "int16": 1, "uint16": 6}


def counts_bytes(record: Record) -> int | None:
    """Size of an archived movie as a movie of counts, None where it was not divided by a gain reference."""
    mode = _MODES.get(record.stored_dtype)
    if record.gain is None or mode is None:
        return None
    frames, ny, nx = record.shape
    return record.header.size + frames * ny * nx * np.dtype(mrc.MODE_DTYPES[mode]).itemsize


class CountsMovie(Movie):
    """An archived movie as counts; its header is the original's, with another mode.

    Parameters
    ----------
    archived : ArchivedMovie
        One that was divided by a gain reference; closed with this movie.
    """

    def __init__(self, archived: ArchivedMovie):
        self.name = archived.name
        self._archived = archived
        self._header = mrc.with_mode(archived.mrc_header, _MODES[archived.record.stored_dtype])
        self.layout = Layout.of(self._header)

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Counts of a frame; errors as those of the archived movie."""
        return self.kept_frame(index)

    def stored_frame(self, index: int) -> dict[int, bytes]:
        """Strips of a frame."""
        return self._archived.strips(index)

    def kept_frame(
        self, index: int, memory: NDArray[Any] | None = None, stored: dict[int, bytes] | None = None
    ) -> NDArray[np.uint8]:
        """Counts of a frame."""
        return mrc.frame_raw(self._archived.counts(index, stored).astype(self.dtype), self._header)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the frames."""
        return b""

    def close(self) -> None:
        """Release the file."""
        self._archived.close()
