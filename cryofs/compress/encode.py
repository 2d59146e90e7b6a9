"""Frames of a movie, encoded: bands by the workers of a pool, frames in order for the movie's own thread."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from cryofs.compress.plan import Plan
from cryofs.compress.row_blocks import Band, BandMemory, OriginalSums, Scratch, Workers, largest_band, read_frames
from cryofs.formats import exception_block, mrc, record
from cryofs.formats.record import Blob
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import Exceptions
from cryofs.movies.source import SourceMovie
from cryofs.storage.checksums import xxh3_checksum

# Frames whose bands are being encoded, and frames being joined, before the oldest is waited for.
_FRAMES_AHEAD = 2


@dataclass(frozen=True)
class _EncodedBand:
    """Neighbouring strips of a frame; the exceptions begin at a flat index of the frame."""

    strips: list[bytes]
    strip_sums: list[str]
    start: int
    exceptions: Exceptions
    beyond: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class StoredExceptions:
    """Exceptions of a frame, deflated; the blob's offset is still to be set."""

    count: int
    near: int
    blob: Blob
    stored: bytes


@dataclass(frozen=True)
class EncodedFrame:
    """A frame as it is to be stored, the range of its counts, and how many are beyond the pixel type."""

    strips: list[bytes]
    strip_sums: list[str]
    exceptions: StoredExceptions | None
    beyond: int
    lowest: int
    highest: int

    @property
    def strip_bytes(self) -> int:
        """Size of the strips."""
        return sum(map(len, self.strips))

    @property
    def exception_bytes(self) -> int:
        """Size of the exceptions."""
        return len(self.exceptions.stored) if self.exceptions else 0

    @property
    def narrowing_bytes(self) -> int:
        """Size of those exceptions that a wider pixel type would hold."""
        return len(self.exceptions.stored) * self.beyond // self.exceptions.count if self.exceptions else 0


def encode_frames(movie: SourceMovie, plan: Plan, sums: OriginalSums, workers: Workers) -> Iterator[EncodedFrame]:
    """Frames in order, each read once; the sums are complete when the last frame was given."""
    pool = workers.pool
    memory = BandMemory(workers.bands_ahead, largest_band(movie, plan.layout))
    reading: deque[list[Future[_EncodedBand]]] = deque()
    joining: deque[Future[EncodedFrame]] = deque()
    try:
        for bands in read_frames(movie, plan.layout, sums, memory, workers):
            reading.append([])
            for band in bands:
                reading[-1].append(pool.submit(_encode_band, movie, plan, band, workers.scratch))
            if len(reading) > _FRAMES_AHEAD:
                joining.append(pool.submit(_join, [band.result() for band in reading.popleft()]))
            if len(joining) > _FRAMES_AHEAD:
                yield joining.popleft().result()
        while reading:
            joining.append(pool.submit(_join, [band.result() for band in reading.popleft()]))
        while joining:
            yield joining.popleft().result()
    finally:
        for bands_of_frame in reading:
            for future in bands_of_frame:
                future.cancel()
        for joined in joining:
            joined.cancel()


def _encode_band(movie: SourceMovie, plan: Plan, band: Band, scratch: Scratch) -> _EncodedBand:
    layout = plan.layout
    try:
        values = mrc.frame_values(band.raw, movie.mrc_header)
        memory = scratch.take(len(values) * layout.nx * layout.dtype.itemsize)
        if plan.reference is None:
            form = to_counts.narrow(values, layout.dtype, layout.nx, memory)
        else:
            form = to_counts.divide(values, plan.reference.gain, band.rows, layout.dtype, memory)
        width, step = values.shape[1], layout.rows_per_strip
        strips = [plan.candidate.encode(form.stored[top : top + step]) for top in range(0, len(values), step)]
        start, sums = band.rows.start * width, list(map(xxh3_checksum, strips))
        return _EncodedBand(strips, sums, start, form.exceptions, form.beyond, form.lowest, form.highest)
    finally:
        band.done()


def _join(bands: list[_EncodedBand]) -> EncodedFrame:
    """A frame from its bands, which are in the order of frame rows; page order is the reverse."""
    return EncodedFrame(
        strips=[strip for band in reversed(bands) for strip in band.strips],
        strip_sums=[strip_sum for band in reversed(bands) for strip_sum in band.strip_sums],
        exceptions=_deflate(Exceptions.joined([(band.start, band.exceptions) for band in bands])),
        beyond=sum(band.beyond for band in bands),
        lowest=min(band.lowest for band in bands),
        highest=max(band.highest for band in bands),
    )


def _deflate(found: Exceptions) -> StoredExceptions | None:
    if not found.count:
        return None
    packed = exception_block.pack(found.positions, found.originals, found.near, found.steps)
    return StoredExceptions(found.count, len(found.near), *record.deflate_blob(packed))
