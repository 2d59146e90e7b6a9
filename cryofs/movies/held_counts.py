"""Frames of gain-normalised movies as caches store them: counts and exceptions instead of values.

They take a quarter of the memory. A read of a few rows multiplies only those rows, directly into the memory of its
reply. That memory is in the processor's cache, so values do not pass through main memory. To verify the checksum of a
whole frame, its values are computed once more, a few rows at a time.

Layout of the memory of a decoded frame or row block: a head of eight int64 (first and last frame row, number of far and
near exceptions), positions of far and near exceptions, bits of far and steps of near exceptions; counts from
`HeldCounts.counts_at` on, rows in the order of the page.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import mrc
from cryofs.formats.record import Record
from cryofs.formats.tiff_pages import PageLayout
from cryofs.kernels.from_counts import ExceptionValues, GainReference, array_in
from cryofs.movies.frame_decoder import EncodedOriginal, decode_strips, numbers_of, pieces_in_order
from cryofs.movies.movie import EncodedFrame
from cryofs.storage.checksums import RunningChecksum

_HEAD_BYTES = 64
_VALUE = np.dtype(np.float32)
_BITS = np.dtype(np.uint32)
_FAR_BYTES, _NEAR_BYTES = 8 + _BITS.itemsize, 8 + 1
# Largest size of exceptions relative to that of counts. Beyond it, row blocks take less memory as values.
_MOST_EXCEPTIONS = 1 / 16
# Smallest size of the values of a frame that is cached as counts.
_LEAST_BYTES = 1 << 20
# Size of the values that are computed at a time for a checksum; they fit into the second-level cache of a core.
_CHECKED_BYTES = 1 << 20


@dataclass(frozen=True)
class HeldCounts:
    """Layout of the frames of a movie in memory.

    Attributes
    ----------
    layout : PageLayout
        Layout of the stored counts.
    far, near : int
        Maximum number of far and of near exceptions in a frame.
    """

    layout: PageLayout
    far: int
    near: int

    @classmethod
    def of(cls, record: Record, layout: PageLayout) -> "HeldCounts | None":
        """Return the layout of the frames of a movie, or None if they are cached as the bytes of the original."""
        found = [frame.exceptions for frame in record.frames if frame.exceptions]
        far = max((each.count - each.near for each in found), default=0)
        near = max((each.near for each in found), default=0)
        is_native = mrc.MODE_DTYPES[record.mrc_mode] == _VALUE and _VALUE.newbyteorder(record.byte_order).isnative
        # the numbers in a damaged record can be arbitrary
        is_few = min(far, near) >= 0 and far * _FAR_BYTES + near * _NEAR_BYTES <= _MOST_EXCEPTIONS * layout.page_bytes
        # small frames are cached in runs, as bytes of the original
        is_large = layout.ny * layout.nx * _VALUE.itemsize >= _LEAST_BYTES
        return cls(layout, far, near) if record.gain is not None and is_native and is_few and is_large else None

    @cached_property
    def counts_at(self) -> int:
        """Offset of the counts in the memory of a frame, aligned for any pixel type."""
        return _HEAD_BYTES + -(-(self.far * _FAR_BYTES + self.near * _NEAR_BYTES) // 8) * 8

    def held_bytes(self, rows: range | None = None) -> int:
        """Return the size of a frame or row block in memory, in bytes."""
        layout = self.layout
        return self.counts_at + (layout.ny if rows is None else len(rows)) * layout.nx * layout.dtype.itemsize

    def put_exceptions(self, held: NDArray[np.uint8], rows: slice, exceptions: ExceptionValues) -> None:
        """Write the head and the exceptions of a frame or row block into its memory (uint8, flat)."""
        far, near = len(exceptions.positions), len(exceptions.near)
        held[:_HEAD_BYTES].view(np.int64)[:4] = rows.start, rows.stop, far, near
        places = _places(held, far, near)
        parts = (exceptions.positions, exceptions.near, exceptions.originals, exceptions.steps)
        for place, part in zip(places, parts, strict=True):
            place[:] = part

    def counts(self, held: NDArray[np.uint8]) -> NDArray[Any]:
        """Return a view of the counts, shape (rows, nx), rows in the order of the page."""
        return held[self.counts_at :].view(self.layout.dtype).reshape(-1, self.layout.nx)

    def value_bytes(
        self, held: NDArray[Any], reference: GainReference, start: int, size: int, memory: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        """Return bytes of the values of a frame or row block (uint8, shape (n,)), in `memory` if it is large enough."""
        first, lead = divmod(start, _VALUE.itemsize)
        counts = self.counts(held)
        size = min(size, counts.size * _VALUE.itemsize - start)
        end = -(-(start + size) // _VALUE.itemsize)
        is_whole = end * _VALUE.itemsize == start + size and not lead
        values = array_in(memory if is_whole else None, (end - first,), _VALUE)
        row, _, far, near = held[:_HEAD_BYTES].view(np.int64)[:4].tolist()
        reference.restore_part(counts, row, first, values)
        if far or near:
            positions, near_positions, originals, steps = _places(held, far, near)
            ExceptionValues(positions, originals, near_positions, steps).within(first, end).put_back(values)
        return values.view(np.uint8)[lead : lead + size]


def _places(held: NDArray[np.uint8], far: int, near: int) -> tuple[NDArray[Any], ...]:
    """Return views of the positions of far and near exceptions, of their bits and of their steps."""
    found, at = [], _HEAD_BYTES
    for count, dtype in (
        (far, np.dtype(np.int64)),
        (near, np.dtype(np.int64)),
        (far, _BITS),
        (near, np.dtype(np.int8)),
    ):
        size = count * dtype.itemsize
        found.append(held[at : at + size].view(dtype))
        at += size
    return tuple(found)


@dataclass(frozen=True)
class EncodedCounts(EncodedFrame):
    """An encoded frame or row block that decodes to the layout of `HeldCounts`.

    Attributes
    ----------
    original : EncodedOriginal
        The encoded strips and exceptions.
    """

    held: HeldCounts
    original: EncodedOriginal

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Return counts and exceptions (uint8, flat); verify the checksum of a whole frame during decoding."""
        read, layout, numbers = self.original, self.held.layout, numbers_of(self.original.strips)
        rows = layout.frame_rows(numbers)
        held = array_in(out, (self.held.held_bytes(range(rows.start, rows.stop)),), np.dtype(np.uint8))
        counts = self.held.counts(held)

        def decode_piece(piece: range) -> None:
            part = layout.frame_rows(piece)
            decode_strips(layout, read.strips, piece, counts[rows.stop - part.stop : rows.stop - part.start])

        try:
            exceptions = read.decoder.unpack_exceptions(read.packed, read.count, read.near)
            inside = exceptions.within(rows.start * layout.nx, rows.stop * layout.nx)
            self.held.put_exceptions(held, rows, inside)
            whole = None if read.checksum is None else RunningChecksum()
            memory = np.empty(0, np.uint8) if whole is None else self._checking_memory()
            for piece in pieces_in_order(read.pool, numbers, decode_piece):
                if whole is not None:
                    self._add_values(held, layout.frame_rows(piece), whole, memory)
            if whole is not None and whole.result() != read.checksum:
                raise DamagedError("checksum mismatch in the decoded frame")
        except (DamagedError, IndexError) as error:
            raise read.name.damaged(error) from error
        return held

    def for_one_thread(self) -> "EncodedCounts":
        """Return the same rows, which do not use the pool."""
        return replace(self, original=self.original.for_one_thread())

    def _checking_memory(self) -> NDArray[np.uint8]:
        """Return memory for the values of a few rows."""
        row_bytes = self.held.layout.nx * _VALUE.itemsize
        return np.empty(max(_CHECKED_BYTES // row_bytes, 1) * row_bytes, np.uint8)

    def _add_values(
        self, held: NDArray[np.uint8], rows: slice, whole: RunningChecksum, memory: NDArray[np.uint8]
    ) -> None:
        """Add the values of rows of a whole frame to its checksum, as many at a time as `memory` holds."""
        row_bytes, step = self.held.layout.nx * _VALUE.itemsize, len(memory)
        reference = self.original.decoder.reference
        assert reference is not None
        end = rows.stop * row_bytes
        for start in range(rows.start * row_bytes, end, step):
            whole.add(self.held.value_bytes(held, reference, start, min(step, end - start), memory))
