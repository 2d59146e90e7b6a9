"""Decoding of TIFF strips to frames: to stored pixels, and to the original bytes of an archived movie.

A decoder is immutable, and several threads may use it at once. This module does no I/O.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import exception_block, mrc
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.tiff_pages import PageLayout
from cryofs.kernels.from_counts import ExceptionValues, GainReference, array_in, widen
from cryofs.movies.movie import EncodedFrame
from cryofs.storage.checksums import RunningChecksum, xxh3_checksum

# Bytes of values that are restored at a time for a checksum. They fit into the processor's cache; with fewer, the
# overhead of NumPy calls would exceed the time of their work.
_CHECKED_BYTES = 1 << 19
_ALIGNMENT = 64
# Compiled code decodes two strips together in 1.5 times the time of one.
STRIPS_AT_ONCE = 2


@dataclass(frozen=True)
class FrameName:
    """Name of a frame for messages, and the remedy for damage."""

    movie: str
    index: int
    remedy: str

    def damaged(self, error: Exception) -> DamagedError:
        """Return an error that names the file, the frame, the problem and the remedy."""
        damaged = DamagedError(f"{self.movie}, frame {self.index}: damaged ({error}); {self.remedy}")
        damaged.facts["frame"] = self.index
        return damaged


@dataclass(frozen=True)
class EncodedPixels(EncodedFrame):
    """Adjacent encoded strips of a page, which decode to stored pixels.

    Attributes
    ----------
    strips : dict
        Encoded strips by their numbers, in ascending order.
    pool : Executor or None
        Thread pool that decodes strips in parallel. Its tasks must not wait for one another.
    shown : dtype or None
        Type whose bytes are returned; None to return the pixels in the type of the page.
    """

    name: FrameName
    layout: PageLayout
    strips: Mapping[int, bytes]
    pool: Executor | None = None
    shown: np.dtype[Any] | None = None

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the pixels, flat, rows in the order of the frame; as bytes (uint8) if `shown` is set."""
        layout, numbers = self.layout, numbers_of(self.strips)
        rows = layout.frame_rows(numbers)
        pixels = array_in(out, (rows.stop - rows.start, layout.nx), self.shown or layout.dtype)

        def decode_piece(piece: range) -> None:
            held = layout.frame_rows(piece)
            pixels[held.start - rows.start : held.stop - rows.start] = page_rows(layout, self.strips, piece)[::-1]

        try:
            for _ in pieces_in_order(self.pool, numbers, decode_piece):
                pass
        except DamagedError as error:
            raise self.name.damaged(error) from error
        flat = pixels.reshape(-1)
        return flat if self.shown is None else flat.view(np.uint8)

    def for_one_thread(self) -> "EncodedPixels":
        """Return the same pixels, which do not use the pool."""
        return replace(self, pool=None)


@dataclass(frozen=True)
class FrameDecoder:
    """Decoder of archived frames, which combines the page layout, the header of the original and the gain reference."""

    layout: PageLayout
    header: MrcHeader
    reference: GainReference | None

    def unpack_exceptions(self, packed: bytes, count: int, near: int) -> ExceptionValues:
        """Return the exceptions of a frame; raise DamagedError if their number does not match."""
        bits = np.dtype(f"u{self.header.dtype.itemsize}")
        return ExceptionValues(*exception_block.unpack(packed, count - near, near, bits))

    def empty_values(self, rows: int, memory: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return an uninitialised array of shape (rows, columns) for values; it may use `memory`."""
        header = self.header
        if header.mode == mrc.MODE_4BIT:
            return np.empty((rows, header.columns), header.dtype)
        if memory is not None:
            return memory.reshape(-1).view(header.dtype).reshape(rows, header.nx)
        return np.empty((rows, header.nx), header.dtype)

    @property
    def piece_bytes(self) -> int:
        """Maximum size of the pixels of one piece, which is a group of strips decoded together, in bytes."""
        layout = self.layout
        return min(STRIPS_AT_ONCE * layout.rows_per_strip, layout.ny) * layout.nx * layout.dtype.itemsize

    @property
    def rows_checked_at_once(self) -> int:
        """Number of rows that are restored together for a checksum."""
        return max(1, min(_CHECKED_BYTES // self._value_row_bytes, self.layout.ny))

    @property
    def checking_bytes(self) -> int:
        """Size of the memory for the checksum of a frame, in bytes: some rows of values, and the pixels of a piece."""
        return self.rows_checked_at_once * self._value_row_bytes + _ALIGNMENT + self.piece_bytes

    def checking_memory(self, memory: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Divide `checking_bytes` bytes into values, shape (rows, columns), and memory for the pixels of a piece."""
        rows = self.rows_checked_at_once
        values = array_in(memory, (rows, self.header.columns), self.header.dtype)
        return values, memory[-(-values.nbytes // _ALIGNMENT) * _ALIGNMENT :]

    def run_bytes(self, frames: int) -> int:
        """Return the size of the memory for the checksums of a run of frames, in bytes."""
        return frames * self.layout.ny * self._value_row_bytes + _ALIGNMENT + frames * self.layout.page_bytes

    def run_checksums(self, pages: Sequence[Sequence[bytes]], memory: NDArray[np.uint8]) -> list[str]:
        """Return the XXH3-128 of consecutive frames without gain and exceptions, decoded together.

        Parameters
        ----------
        pages : sequence of sequence of bytes
            All strips of each frame.
        memory : ndarray of uint8, flat
            At least `run_bytes` bytes.
        """
        layout, height = self.layout, self.layout.rows_per_strip
        values = array_in(memory, (len(pages) * layout.ny, self.header.columns), self.header.dtype)
        rest = memory[-(-values.nbytes // _ALIGNMENT) * _ALIGNMENT :]
        pixels = array_in(rest, (len(pages) * layout.ny, layout.nx), layout.dtype)
        # the last frame first, as the last row of a page
        parts = [
            page[top : top + height]
            for page in pixels.reshape(len(pages), layout.ny, layout.nx)[::-1]
            for top in range(0, layout.ny, height)
        ]
        layout.codec.decode([strip for strips in pages for strip in strips], parts)
        self.restore(pixels, slice(0, len(pixels)), values)
        raw = mrc.frame_raw(values, self.header)
        return list(map(xxh3_checksum, raw.reshape(len(pages), -1)))

    @property
    def _value_row_bytes(self) -> int:
        return self.header.columns * self.header.dtype.itemsize

    def restore(self, pixels: NDArray[Any], rows: slice, values: NDArray[Any]) -> None:
        """Restore the values of frame rows without applying exceptions.

        Parameters
        ----------
        pixels : ndarray, shape (n, nx)
            The pixels, in the order of the page.
        rows : slice
            The n frame rows.
        values : ndarray, shape (n, columns)
            Filled with the values, in the order of the frame.
        """
        if self.reference is None:
            widen(pixels, values[:, : self.layout.nx])
            # the unused nibble of an odd row is 0 unless an exception sets it
            values[:, self.layout.nx :] = 0
        else:
            self.reference.restore(pixels, rows, values)


@dataclass(frozen=True)
class EncodedOriginal(EncodedFrame):
    """Adjacent encoded strips of an archived frame and its exceptions, which decode to bytes of the original.

    Attributes
    ----------
    strips : dict
        Encoded strips by their numbers, in ascending order.
    packed, count, near : bytes, int, int
        Packed exceptions of the frame, the number of all, and the number of near ones; see
        `cryofs.formats.exception_block`.
    checksum : str or None
        XXH3-128 of the decoded bytes; None for a row block, whose bytes have no checksum of their own.
    """

    name: FrameName
    decoder: FrameDecoder
    strips: Mapping[int, bytes]
    packed: bytes = b""
    count: int = 0
    near: int = 0
    checksum: str | None = None
    pool: Executor | None = None

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the bytes of the original (uint8, shape (n,))."""
        decoder, layout, numbers = self.decoder, self.decoder.layout, numbers_of(self.strips)
        rows = layout.frame_rows(numbers)
        values = decoder.empty_values(rows.stop - rows.start, out)

        def decode_piece(piece: range) -> None:
            held = layout.frame_rows(piece)
            part = values[held.start - rows.start : held.stop - rows.start]
            decoder.restore(page_rows(layout, self.strips, piece), held, part)

        try:
            width = values.shape[1]
            exceptions = decoder.unpack_exceptions(self.packed, self.count, self.near) if self.count else None
            whole = RunningChecksum()
            for piece in pieces_in_order(self.pool, numbers, decode_piece):
                held = layout.frame_rows(piece)
                part = values[held.start - rows.start : held.stop - rows.start]
                if exceptions is not None:
                    exceptions.within(held.start * width, held.stop * width).put_back(part)
                if self.checksum is not None:
                    # here, because these rows are still in the processor's cache
                    whole.add(mrc.frame_raw(part, decoder.header))
            if self.checksum is not None and whole.result() != self.checksum:
                raise DamagedError("checksum mismatch in the decoded frame")
            raw = mrc.frame_raw(values, decoder.header)
        except (DamagedError, IndexError) as error:
            raise self.name.damaged(error) from error
        return raw

    def for_one_thread(self) -> "EncodedOriginal":
        """Return the same rows, which do not use the pool."""
        return replace(self, pool=None)

    def original_checksum(self, memory: NDArray[np.uint8]) -> str:
        """Return the XXH3-128 of the bytes of the original, decoded a few rows at a time in the processor's cache.

        Parameters
        ----------
        memory : ndarray of uint8, flat
            At least `FrameDecoder.checking_bytes` bytes.
        """
        decoder, layout = self.decoder, self.decoder.layout
        values, memory = decoder.checking_memory(memory)
        exceptions = decoder.unpack_exceptions(self.packed, self.count, self.near)
        whole = RunningChecksum()
        for piece in reversed(pieces_of(numbers_of(self.strips))):
            rows = layout.frame_rows(piece)
            pixels = page_rows(layout, self.strips, piece, memory)
            for first in range(rows.start, rows.stop, len(values)):
                few = slice(first, min(first + len(values), rows.stop))
                part = values[: few.stop - few.start]
                decoder.restore(pixels[rows.stop - few.stop : rows.stop - few.start], few, part)
                width = part.shape[1]
                exceptions.within(few.start * width, few.stop * width).put_back(part)
                whole.add(mrc.frame_raw(part, decoder.header))
        return whole.result()


def page_rows(
    layout: PageLayout, strips: Mapping[int, bytes], piece: range, memory: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Decode adjacent strips; return their pixels, shape (rows, nx) in page order, in `memory` if given."""
    rows = layout.frame_rows(piece)
    pixels = array_in(memory, (rows.stop - rows.start, layout.nx), layout.dtype)
    decode_strips(layout, strips, piece, pixels)
    return pixels


def decode_strips(layout: PageLayout, strips: Mapping[int, bytes], piece: range, pixels: NDArray[Any]) -> None:
    """Decode adjacent strips into `pixels`, shape (rows, nx), rows in the order of the page."""
    height = layout.rows_per_strip
    parts = [pixels[first : first + height] for first in range(0, len(pixels), height)]
    layout.codec.decode([strips[number] for number in piece], parts)


def pieces_of(strips: range) -> list[range]:
    """Divide adjacent strips into groups that are decoded together."""
    starts = range(strips.start, strips.stop, STRIPS_AT_ONCE)
    return [range(first, min(first + STRIPS_AT_ONCE, strips.stop)) for first in starts]


def pieces_in_order(pool: Executor | None, strips: range, action: Callable[[range], None]) -> Iterator[range]:
    """Call `action` for groups of adjacent strips, in parallel if there is a pool.

    Yields
    ------
    range
        A finished piece. Pieces come in the order of the frame, whose first rows are in the last strip.
    """
    pieces = pieces_of(strips)[::-1]
    # in the pool, a single piece would wait for those of other frames
    run = map if pool is None or len(pieces) == 1 else pool.map
    for piece, _ in zip(pieces, run(action, pieces), strict=True):
        yield piece


def numbers_of(strips: Mapping[int, bytes]) -> range:
    """Return the numbers of adjacent strips as a range."""
    first = next(iter(strips))
    return range(first, first + len(strips))
