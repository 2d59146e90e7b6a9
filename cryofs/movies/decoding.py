"""What is stored of a frame -> its original bytes, a band of rows at a time.

A decoder is immutable and may be used by several threads at once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.detector.values import Exceptions, GainReference, array_in, widen
from cryofs.formats import codecs, exceptions, mrc
from cryofs.formats.codecs import Codec
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.sums import RunningSum
from cryofs.formats.tiff import PageLayout

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class StoredFrame:
    """What the file holds of a frame: its strips, encoded, and its exceptions."""

    strips: list[bytes]
    exceptions: Exceptions


@dataclass(frozen=True)
class FrameDecoder:
    """How frames of a movie are stored: their pages, the header of the original, the gain reference."""

    layout: PageLayout
    header: MrcHeader
    reference: GainReference | None

    def unpack_exceptions(self, packed: bytes, count: int, near: int) -> Exceptions:
        """Exceptions of a frame from their bytes; DamagedError where they cannot be so many."""
        bits = np.dtype(f"u{self.header.dtype.itemsize}")
        return Exceptions(*exceptions.unpack(packed, count - near, near, bits))

    def empty_values(self, rows: int, memory: NDArray[Any] | None = None) -> NDArray[Any]:
        """Room for the values of some rows, in `memory` if given."""
        header = self.header
        if header.mode == mrc.MODE_4BIT:
            return np.empty((rows, 2 * header.row_bytes), header.dtype)
        if memory is not None:
            return memory.reshape(-1).view(header.dtype).reshape(rows, header.nx)
        return np.empty((rows, header.nx), header.dtype)

    def decode(self, strips: list[bytes], group: range, values: NDArray[Any]) -> None:
        """Fill `values`, the frame rows that a group of the frame's strips holds, without exceptions."""
        layout = self.layout
        base = layout.frame_rows(group).start
        for number in group:
            rows = layout.frame_rows(range(number, number + 1))
            page_rows = self.page_rows(strips, number)
            self._restore(page_rows, rows, values[rows.start - base : rows.stop - base])

    @property
    def strip_bytes(self) -> int:
        """Bytes of the pixels of a strip, at most."""
        layout = self.layout
        return min(layout.rows_per_strip, layout.ny) * layout.nx * layout.dtype.itemsize

    def page_rows(self, strips: list[bytes], number: int, memory: NDArray[np.uint8] | None = None) -> NDArray[Any]:
        """Pixels of a strip, rows in the order of the page; in `memory`, of `strip_bytes`, if given."""
        layout = self.layout
        rows = layout.frame_rows(range(number, number + 1))
        pixels = array_in(memory, (rows.stop - rows.start, layout.nx), layout.dtype)
        decode_strip(layout.codec, strips[number], pixels)
        return pixels

    def original_sum(self, stored: StoredFrame, memory: NDArray[np.uint8]) -> str:
        """XXH3-128 of the original bytes of a frame, a few rows at a time, which stay in the processor's cache."""
        whole = RunningSum()
        for number in reversed(range(len(stored.strips))):
            rows = self.layout.frame_rows(range(number, number + 1))
            page_rows = self.page_rows(stored.strips, number, memory)
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


def decode_strip(codec: Codec, data: bytes, pixels: NDArray[Any]) -> None:
    """Decode a strip into `pixels`, a C-contiguous array of shape (rows, nx), and nothing beside it.

    Raises
    ------
    DamagedError
        The stream is no valid one, or does not hold exactly the bytes of `pixels`.
    """
    flat = pixels.reshape(-1).view(np.uint8)
    if codec.compression == "lzw":
        # compiled code takes a third of a second to load, which only those who need it should wait for
        from cryofs.detector import lzw

        lzw.decode(data, flat)
    elif codec.compression == "deflate":
        codecs.inflate(data, flat)
    else:
        codecs.copy_plain(data, flat)
    codecs.undo_predictor(codec.predictor, pixels)
