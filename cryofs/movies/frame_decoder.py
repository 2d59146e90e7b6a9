"""What is stored of a frame -> its original bytes, a few strips at a time.

A decoder is immutable and may be used by several threads at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.registry import decode_strips
from cryofs.formats import exception_block, mrc
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.tiff_pages import PageLayout
from cryofs.kernels.from_counts import Exceptions, GainReference, array_in, widen
from cryofs.storage.checksums import RunningChecksum

_ROWS_AT_ONCE = 256
# Strips that compiled code decodes in the time of one and a half.
STRIPS_AT_ONCE = 2


@dataclass(frozen=True)
class StoredFrame:
    """What the file holds of a frame: strips by their numbers, encoded, and its exceptions."""

    strips: Mapping[int, bytes]
    exceptions: Exceptions

    @property
    def numbers(self) -> range:
        """Numbers of the strips, which are neighbours."""
        return range(min(self.strips), max(self.strips) + 1)


@dataclass(frozen=True)
class FrameDecoder:
    """How frames of a movie are stored: their pages, the header of the original, the gain reference."""

    layout: PageLayout
    header: MrcHeader
    reference: GainReference | None

    def unpack_exceptions(self, packed: bytes, count: int, near: int) -> Exceptions:
        """Exceptions of a frame from their bytes; DamagedError where they cannot be so many."""
        bits = np.dtype(f"u{self.header.dtype.itemsize}")
        return Exceptions(*exception_block.unpack(packed, count - near, near, bits))

    def empty_values(self, rows: int, memory: NDArray[Any] | None = None) -> NDArray[Any]:
        """Room for the values of some rows, in `memory` if given."""
        header = self.header
        if header.mode == mrc.MODE_4BIT:
            return np.empty((rows, header.columns), header.dtype)
        if memory is not None:
            return memory.reshape(-1).view(header.dtype).reshape(rows, header.nx)
        return np.empty((rows, header.nx), header.dtype)

    def decode(self, strips: Mapping[int, bytes], group: range, values: NDArray[Any]) -> None:
        """Fill `values`, the frame rows that neighbouring strips of a frame hold, without exceptions."""
        base = self.layout.frame_rows(group).start
        for piece in pieces_of(group):
            rows = self.layout.frame_rows(piece)
            self._restore(self.page_rows(strips, piece), rows, values[rows.start - base : rows.stop - base])

    @property
    def piece_bytes(self) -> int:
        """Bytes of the pixels of strips that are decoded together, at most."""
        layout = self.layout
        return min(STRIPS_AT_ONCE * layout.rows_per_strip, layout.ny) * layout.nx * layout.dtype.itemsize

    def page_rows(
        self, strips: Mapping[int, bytes], piece: range, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Pixels of neighbouring strips, rows in the order of the page; in `memory`, of `piece_bytes`, if given."""
        layout = self.layout
        rows = layout.frame_rows(piece)
        pixels = array_in(memory, (rows.stop - rows.start, layout.nx), layout.dtype)
        height = layout.rows_per_strip
        parts = [pixels[first : first + height] for first in range(0, len(pixels), height)]
        decode_strips(layout.codec, [strips[number] for number in piece], parts)
        return pixels

    def original_sum(self, stored: StoredFrame, memory: NDArray[np.uint8]) -> str:
        """XXH3-128 of the original bytes of a frame, a few rows at a time, which stay in the processor's cache."""
        whole = RunningChecksum()
        for piece in reversed(pieces_of(range(len(stored.strips)))):
            rows = self.layout.frame_rows(piece)
            page_rows = self.page_rows(stored.strips, piece, memory)
            values = self.empty_values(min(_ROWS_AT_ONCE, rows.stop - rows.start))
            for first in range(rows.start, rows.stop, _ROWS_AT_ONCE):
                few = slice(first, min(first + _ROWS_AT_ONCE, rows.stop))
                part = values[: few.stop - few.start]
                self._restore(page_rows[rows.stop - few.stop : rows.stop - few.start], few, part)
                width = part.shape[1]
                stored.exceptions.within(few.start * width, few.stop * width).put_back(part)
                whole.add(mrc.frame_raw(part, self.header))
        return whole.result()

    def _restore(self, page_rows: NDArray[Any], rows: slice, values: NDArray[Any]) -> None:
        if self.reference is None:
            widen(page_rows, values[:, : self.layout.nx])
            # the padding nibble of an odd row is 0 unless an exception says otherwise
            values[:, self.layout.nx :] = 0
        else:
            self.reference.restore(page_rows, rows, values)


def pieces_of(strips: range) -> list[range]:
    """Neighbouring strips, divided into those that are best decoded together."""
    starts = range(strips.start, strips.stop, STRIPS_AT_ONCE)
    return [range(first, min(first + STRIPS_AT_ONCE, strips.stop)) for first in starts]
