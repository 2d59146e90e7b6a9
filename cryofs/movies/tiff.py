"""TIFF movies of other programs, shown as MRC movies: the same pixels, rows from the bottom.

Programs disagree on whether 8-bit values of MRC are signed, so unsigned 8-bit pixels are shown as int16.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError, DamagedError
from cryofs.formats import mrc, tiff_movie
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.tiff_movie import TiffFacts, TiffIndex
from cryofs.movies.frame_decoder import EncodedPixels, FrameName
from cryofs.movies.movie import Movie, convert_pixels
from cryofs.storage.byte_source import LocalFile
from cryofs.system.resources import usable_cores
from cryofs.version import VERSION

_REMEDY = "copy the file again"
_MODES = {"int8": 0, "uint8": 1, "int16": 1, "uint16": 6, "float32": 2}


def foreign_header(facts: TiffFacts) -> MrcHeader:
    """Return the header of the MRC file that a TIFF movie is shown as."""
    frames, ny, nx = facts.shape
    mode = _MODES[np.dtype(facts.dtype).name]
    if facts.packed:
        nx, mode = 2 * nx, mrc.MODE_4BIT
    raw = mrc.new_header((frames, ny, nx), mode, facts.pixel_size, f"TIFF movie; shown as MRC by cryofs {VERSION}")
    return MrcHeader(raw, "<", nx, ny, frames, mode)


class ForeignMovie(Movie):
    """A TIFF movie of another program.

    Parameters
    ----------
    index : TiffIndex or None
        Its index, if it is known already.
    source : LocalFile or None
        The file, opened already; the movie closes it.

    Raises
    ------
    NoMovieError, DamagedError
        See `cryofs.formats.tiff_movie.read_index`.
    """

    def __init__(self, path: Path, index: TiffIndex | None = None, source: LocalFile | None = None):
        self.source = source or LocalFile.open(path)
        self.name = self.source.name
        self.path = path
        try:
            self.index = index or tiff_movie.read_index(self.source)
            self._header = foreign_header(self.index.facts)
            self.layout = Layout.of(self._header)
        except BaseException:
            self.source.close()
            raise
        # two 4-bit values are one byte, in the file and in memory
        packed = self.index.facts.packed
        self._shown = np.dtype(np.uint8) if packed else self._header.dtype.newbyteorder("<")
        self.identity = *self.source.identity, "TIFF"

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def stat(self) -> os.stat_result:
        """Attributes of the file when it was opened."""
        return self.source.stat

    @property
    def stored_bytes(self) -> int:
        """Size of the TIFF file."""
        return self.source.size

    @property
    def decodes_at_once(self) -> int:
        """One core decodes a frame, so several frames are decoded at the same time."""
        return usable_cores()

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the virtual file."""
        return self._header.row_bytes

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the bytes of memory of decoded pixels, which are cached in the type that they are stored in."""
        layout = self.index.layout
        return (layout.ny if rows is None else len(rows)) * layout.nx * layout.dtype.itemsize

    def row_block(self, row: int) -> range | None:
        """Return the rows that are decoded together with a row, or None if whole frames are decoded only."""
        return self.index.layout.row_block(row)

    def read_frame(self, index: int, rows: range | None = None) -> EncodedPixels:
        """Read the strips of a frame, which have no checksums."""
        layout, name = self.index.layout, FrameName(self.name, index, _REMEDY)
        offsets, byte_counts = self.index.pages[index].lists()
        strips = {}
        try:
            for number in layout.strips_of(rows):
                strips[number] = self.source.read_exactly(byte_counts[number], offsets[number], f"strip {number}")
        except (DamagedError, OSError) as error:
            self.check_unchanged()
            raise name.damaged(error) from error
        # without checksums, only this tells strips of another file
        self.check_unchanged()
        return EncodedPixels(name, layout, strips)

    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the MRC file from decoded pixels."""
        return convert_pixels(decoded, self._shown, start, size)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return nothing: the virtual file ends with its frames."""
        return b""

    def close(self) -> None:
        """Release the file."""
        self.source.close()

    def check_unchanged(self) -> None:
        """Raise ChangedError if the file was written to after it was opened."""
        if not self.source.is_unchanged():
            raise ChangedError(f"{self.name}: overwritten while it was open; open it again")
