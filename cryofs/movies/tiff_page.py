"""Decoding of pages of TIFF movies of other programs: strips or tiles, of any codec and bit order.

This module does no I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats.tiff_layout import TiffLayout
from cryofs.kernels.from_counts import array_in
from cryofs.movies.frame_decoder import STRIPS_AT_ONCE, FrameName, pieces_of
from cryofs.movies.movie import EncodedFrame

# Maps each byte to the byte with its bits in reverse order.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class EncodedPage(EncodedFrame):
    """Adjacent rows of segments (strips or tiles) of a page, which decode to stored pixels.

    Attributes
    ----------
    strips : range
        Numbers of the rows of segments.
    segments : dict
        The encoded segments by number, in ascending order.
    """

    name: FrameName
    layout: TiffLayout
    strips: range
    segments: Mapping[int, bytes]

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the pixels, flat, rows in the order of the frame; the first of two 4-bit values is in the low half."""
        page = self.layout.page
        rows = page.frame_rows(self.strips)
        pixels = array_in(out, (rows.stop - rows.start, page.nx), page.dtype)
        try:
            for piece in pieces_of(self.strips):
                held = page.frame_rows(piece)
                part = pixels[held.start - rows.start : held.stop - rows.start]
                if self.layout.tile_columns is None:
                    part[...] = self._strips(piece, len(part))[::-1]
                else:
                    self._tiles(piece, part[::-1])
        except DamagedError as error:
            raise self.name.damaged(error) from error
        if self.layout.bits < 8:
            # the first of two values is in the high half of a stored byte
            np.bitwise_or(pixels << 4, pixels >> 4, out=pixels)
        return pixels.reshape(-1)

    def _strips(self, piece: range, height: int) -> NDArray[Any]:
        """Return the rows of adjacent strips, shape (rows, nx), in the order of the page."""
        page = self.layout.page
        rows = np.empty((height, page.nx), page.dtype)
        parts = [rows[first : first + page.rows_per_strip] for first in range(0, height, page.rows_per_strip)]
        try:
            self._decode(piece, parts)
        except DamagedError:
            if len(parts[-1]) == page.rows_per_strip:
                raise
            # some programs pad the last strip to the height of the others
            whole = np.empty((page.rows_per_strip, page.nx), page.dtype)
            self._decode(piece, [*parts[:-1], whole])
            parts[-1][...] = whole[: len(parts[-1])]
        return rows

    def _tiles(self, piece: range, rows: NDArray[Any]) -> None:
        """Fill `rows`, shape (rows, nx), from adjacent rows of tiles, in the order of the page."""
        layout = self.layout
        assert layout.tile_columns is not None
        height, width = layout.page.rows_per_strip, layout.tile_columns
        numbers = layout.segments_of(piece)
        for first in range(numbers.start, numbers.stop, STRIPS_AT_ONCE):
            some = range(first, min(first + STRIPS_AT_ONCE, numbers.stop))
            tiles = np.empty((len(some), height, width), layout.page.dtype)
            self._decode(some, list(tiles))
            for number, tile in zip(some, tiles, strict=True):
                down, right = divmod(number - numbers.start, layout.across)
                place = rows[down * height : (down + 1) * height, right * width : (right + 1) * width]
                # tiles at the edges extend beyond the image
                place[...] = tile[: place.shape[0], : place.shape[1]]

    def _decode(self, numbers: range, parts: Sequence[NDArray[Any]]) -> None:
        streams = [self.segments[number] for number in numbers]
        if self.layout.lowest_first:
            streams = [stream.translate(_REVERSED) for stream in streams]
        self.layout.page.codec.decode(streams, parts)
