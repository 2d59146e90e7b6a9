"""TIFF movies that cryofs did not write, shown as MRC movies: the same pixels, rows from the bottom.

MRC has no unsigned 8-bit type that all programs agree on, so such pixels are shown as int16.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError, DamagedError
from cryofs.formats import mrc, tiff_movie
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.tiff_movie import TiffFacts, TiffIndex
from cryofs.kernels.from_counts import array_in
from cryofs.movies.frame_decoder import FrameDecoder, pieces_of
from cryofs.movies.movie import Movie
from cryofs.storage.byte_source import LocalFile
from cryofs.system.resources import usable_cores
from cryofs.version import VERSION

_MODES = {"int8": 0, "uint8": 1, "int16": 1, "uint16": 6, "float32": 2}


def foreign_header(facts: TiffFacts) -> MrcHeader:
    """Header of the MRC file that a TIFF movie is shown as."""
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
        Its index, where it is known already.
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
            self._decoder = FrameDecoder(self.index.layout, self._header, None)
            self.layout = Layout.of(self._header)
        except BaseException:
            self.source.close()
            raise

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
        """One core decodes a frame."""
        return usable_cores()

    @property
    def kept_bytes(self) -> int:
        """Pixels are kept in the type they are stored in, which may be narrower than what readers see."""
        return self.index.layout.page_bytes

    def stored_frame(self, index: int) -> dict[int, bytes]:
        """Strips of a frame by their numbers, encoded; errors as those of `kept_frame`."""
        offsets, byte_counts = self.index.pages[index].lists()
        with self._telling(index):
            strips = {
                number: self.source.read_exactly(size, offset, f"strip {number}")
                for number, (size, offset) in enumerate(zip(byte_counts, offsets, strict=True))
            }
        # such a file has no sums that would tell strips of another file
        self.check_unchanged()
        return strips

    def kept_frame(
        self, index: int, memory: NDArray[Any] | None = None, stored: dict[int, bytes] | None = None
    ) -> NDArray[Any]:
        """Stored pixels of a frame, shape (ny * nx,), rows in the order of the MRC file.

        Raises
        ------
        DamagedError
            A strip does not decode to the pixels that it should.
        ChangedError
            The file was written to since it was opened.
        """
        layout = self.index.layout
        strips = stored or self.stored_frame(index)
        rows = array_in(memory, (layout.ny, layout.nx), layout.dtype)
        with self._telling(index):
            for piece in pieces_of(range(layout.strips)):
                rows[layout.frame_rows(piece)] = self._decoder.page_rows(strips, piece)[::-1]
        return rows.reshape(-1)

    def piece(self, kept: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a frame as the MRC file has them."""
        shown = np.dtype(np.uint8) if self.index.facts.packed else self.dtype.newbyteorder("<")
        if kept.dtype == shown:
            return kept.view(np.uint8)[start : start + size]
        first, end = start // shown.itemsize, -(-(start + size) // shown.itemsize)
        return kept[first:end].astype(shown).view(np.uint8)[start - first * shown.itemsize :][:size]

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of a frame."""
        return self.piece(self.kept_frame(index), 0, self.layout.frame_bytes)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the frames."""
        return b""

    def close(self) -> None:
        """Release the file."""
        self.source.close()

    def check_unchanged(self) -> None:
        """Raise ChangedError where the file was written to since it was opened."""
        if not self.source.is_unchanged():
            raise ChangedError(f"{self.name}: overwritten while it was open; open it again")

    @contextlib.contextmanager
    def _telling(self, index: int) -> Iterator[None]:
        """Name file, frame and remedy in what goes wrong with a frame."""
        try:
            yield
        except (DamagedError, OSError) as error:
            self.check_unchanged()
            damaged = DamagedError(f"{self.name}, frame {index}: damaged ({error}); copy the file again")
            damaged.facts["frame"] = index
            raise damaged from error
