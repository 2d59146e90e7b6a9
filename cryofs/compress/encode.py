"""Encode the frames of a movie in a thread pool; the movie's own thread receives the encoded frames in order.

A task encodes a row block of a frame that was read, or a whole fraction of an EER movie. Small frames are encoded in
runs, because one task per frame would take longer than the encoding.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.compress.plan import Plan
from cryofs.compress.row_blocks import (
    FrameRun,
    OriginalSums,
    RowBlock,
    RowBlockMemory,
    Scratch,
    Workers,
    largest_row_block,
    read_frames,
    read_runs,
)
from cryofs.formats import exception_block, mrc
from cryofs.formats.blob import Blob, deflate_blob
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import ExceptionValues, array_in
from cryofs.kernels.to_counts import Counts
from cryofs.movies.frame_runs import frames_of_run
from cryofs.movies.source import SourceMovie
from cryofs.storage.checksums import RunningChecksum, xxh3_checksum

# Size of the part of a fraction that is converted to values and encoded at a time.
_PIECE_BYTES = 1 << 19
_ALIGNMENT = 64
# Maximum number of frames that are being encoded or joined.
_FRAMES_AHEAD = 2


@dataclass(frozen=True)
class _EncodedBlock:
    """Encoded strips of a row block, and its exceptions with positions relative to the start of the block."""

    strips: list[bytes]
    strip_sums: list[str]
    start: int
    exceptions: ExceptionValues
    beyond: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class StoredExceptions:
    """Deflated exceptions of a frame; the writer sets the offset of their blob."""

    count: int
    near: int
    blob: Blob
    stored: bytes


@dataclass(frozen=True)
class FrameToStore:
    """An encoded frame, the range of its counts, and the number of counts that exceed the pixel type."""

    strips: list[bytes]
    strip_sums: list[str]
    exceptions: StoredExceptions | None
    beyond: int
    lowest: int
    highest: int

    @property
    def strip_bytes(self) -> int:
        """Size of the strips in bytes."""
        return sum(map(len, self.strips))

    @property
    def exception_bytes(self) -> int:
        """Size of the exceptions in bytes."""
        return len(self.exceptions.stored) if self.exceptions else 0

    @property
    def narrowing_bytes(self) -> int:
        """Size in bytes of the exceptions that a wider pixel type would avoid."""
        return len(self.exceptions.stored) * self.beyond // self.exceptions.count if self.exceptions else 0


def encode_frames(
    movie: SourceMovie, plan: Plan, sums: OriginalSums, workers: Workers
) -> Iterator[Sequence[FrameToStore]]:
    """Yield lists of encoded frames, in order: one frame each, or the frames of a run.

    The checksums in `sums` are complete when the iterator is exhausted.
    """
    if movie.rendered is not None:
        yield from ([frame] for frame in _encode_rendered(movie, plan, sums, workers))
    elif frames_of_run(movie) > 1:
        yield from _encode_runs(movie, plan, sums, workers)
    else:
        yield from ([frame] for frame in _encode_row_blocks(movie, plan, sums, workers))


def _encode_runs(movie: SourceMovie, plan: Plan, sums: OriginalSums, workers: Workers) -> Iterator[list[FrameToStore]]:
    memory = RowBlockMemory(workers.row_blocks_ahead, frames_of_run(movie) * movie.layout.frame_bytes)
    coming: deque[Future[list[FrameToStore]]] = deque()
    try:
        for run in read_runs(movie, sums, memory):
            coming.append(workers.pool.submit(_encode_run, movie, plan, run, workers.scratch))
            if len(coming) > workers.threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for future in coming:
            future.cancel()


def _encode_run(movie: SourceMovie, plan: Plan, run: FrameRun, scratch: Scratch) -> list[FrameToStore]:
    rows = slice(0, plan.layout.ny)
    try:
        if plan.reference is None:
            form = _form(movie, plan, run.raw.reshape(-1), rows, scratch)
            if not form.exceptions.count:
                return _encode_pages(plan, form)
        return [_join([_encode_rows(movie, plan, frame, rows, scratch)]) for frame in run.raw]
    finally:
        run.done()


def _encode_pages(plan: Plan, form: Counts) -> list[FrameToStore]:
    """Encode the frames of a run without exceptions; they are reversed, because a page starts with the last row."""
    frames = []
    for page in form.stored.reshape(-1, plan.layout.ny, plan.layout.nx)[::-1]:
        strips = _encode_strips(plan, page)
        sums = list(map(xxh3_checksum, strips))
        frames.append(FrameToStore(strips, sums, None, 0, form.lowest, form.highest))
    return frames


def _encode_row_blocks(movie: SourceMovie, plan: Plan, sums: OriginalSums, workers: Workers) -> Iterator[FrameToStore]:
    pool = workers.pool
    memory = RowBlockMemory(workers.row_blocks_ahead, largest_row_block(movie, plan.layout))
    reading: deque[list[Future[_EncodedBlock]]] = deque()
    joining: deque[Future[FrameToStore]] = deque()
    try:
        for blocks in read_frames(movie, plan.layout, sums, memory):
            reading.append([])
            for block in blocks:
                reading[-1].append(pool.submit(_encode_block, movie, plan, block, workers.scratch))
            if len(reading) > _FRAMES_AHEAD:
                joining.append(pool.submit(_join, [block.result() for block in reading.popleft()]))
            if len(joining) > _FRAMES_AHEAD:
                yield joining.popleft().result()
        while reading:
            joining.append(pool.submit(_join, [block.result() for block in reading.popleft()]))
        while joining:
            yield joining.popleft().result()
    finally:
        for blocks_of_frame in reading:
            for future in blocks_of_frame:
                future.cancel()
        for joined in joining:
            joined.cancel()


def _encode_rendered(movie: SourceMovie, plan: Plan, sums: OriginalSums, workers: Workers) -> Iterator[FrameToStore]:
    """Yield the encoded fractions of an EER movie in order; one task renders and encodes each fraction."""
    coming: deque[Future[tuple[FrameToStore, str]]] = deque()
    # rendering may need so much memory that fewer fractions fit than there are threads
    ahead = min(workers.threads + 1, movie.decodes_at_once)

    def oldest() -> FrameToStore:
        frame, checksum = coming.popleft().result()
        sums.frames.append(checksum)
        return frame

    try:
        for index in range(movie.layout.frames):
            if len(coming) == ahead:
                yield oldest()
            coming.append(workers.pool.submit(_encode_fraction, movie, plan, index, workers.scratch))
        while coming:
            yield oldest()
    finally:
        for fraction in coming:
            fraction.cancel()


def _encode_fraction(movie: SourceMovie, plan: Plan, index: int, scratch: Scratch) -> tuple[FrameToStore, str]:
    """Render and encode a fraction; return the encoded frame and the XXH3-128 of its values.

    The task computes, hashes and encodes a few rows at a time, so that the data stay in the processor's cache.
    """
    layout, header = plan.layout, movie.mrc_header
    height = max(1, _PIECE_BYTES // header.row_bytes)
    sizes = movie.decoded_bytes(), height * header.row_bytes, layout.page_bytes
    rendered, raw, page = _divided(scratch.take(sum(map(_aligned, sizes))), sizes)
    read_rows = movie.row_reader(index, rendered)
    pixels = array_in(page, (layout.ny, layout.nx), layout.dtype)
    checksum = RunningChecksum()
    forms: list[tuple[int, Counts]] = []
    for first in range(0, layout.ny, height):
        few = slice(first, min(first + height, layout.ny))
        rows = raw[: (few.stop - first) * header.row_bytes]
        read_rows(first, rows)
        checksum.add(rows)
        values = mrc.frame_values(rows, header)
        part = pixels[layout.ny - few.stop : layout.ny - first]
        forms.append((first * header.columns, to_counts.narrow(values, layout.dtype, layout.nx, part)))
    strips = _encode_strips(plan, pixels)
    frame = FrameToStore(
        strips=strips,
        strip_sums=list(map(xxh3_checksum, strips)),
        exceptions=_deflate(ExceptionValues.joined([(start, form.exceptions) for start, form in forms])),
        beyond=sum(form.beyond for _, form in forms),
        lowest=min(form.lowest for _, form in forms),
        highest=max(form.highest for _, form in forms),
    )
    return frame, checksum.result()


def _divided(memory: NDArray[np.uint8], sizes: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Return consecutive aligned parts of a buffer (uint8), one for each size."""
    ends = list(accumulate(map(_aligned, sizes)))
    return [memory[end - _aligned(size) :][:size] for end, size in zip(ends, sizes, strict=True)]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _encode_strips(plan: Plan, pixels: NDArray[Any]) -> list[bytes]:
    step = plan.layout.rows_per_strip
    return [plan.encoder.encode(pixels[top : top + step]) for top in range(0, len(pixels), step)]


def _encode_block(movie: SourceMovie, plan: Plan, block: RowBlock, scratch: Scratch) -> _EncodedBlock:
    try:
        return _encode_rows(movie, plan, block.raw, block.rows, scratch)
    finally:
        block.done()


def _encode_rows(
    movie: SourceMovie, plan: Plan, raw: NDArray[np.uint8], rows: slice, scratch: Scratch
) -> _EncodedBlock:
    form = _form(movie, plan, raw, rows, scratch)
    strips = _encode_strips(plan, form.stored)
    start, sums = rows.start * movie.mrc_header.columns, list(map(xxh3_checksum, strips))
    return _EncodedBlock(strips, sums, start, form.exceptions, form.beyond, form.lowest, form.highest)


def _form(movie: SourceMovie, plan: Plan, raw: NDArray[np.uint8], rows: slice, scratch: Scratch) -> Counts:
    """Return the counts and exceptions of whole rows; `rows` are those of the gain."""
    layout = plan.layout
    values = mrc.frame_values(raw, movie.mrc_header)
    memory = scratch.take(len(values) * layout.nx * layout.dtype.itemsize)
    if plan.reference is None:
        return to_counts.narrow(values, layout.dtype, layout.nx, memory)
    return to_counts.divide(values, plan.reference.gain, rows, layout.dtype, memory)


def _join(blocks: list[_EncodedBlock]) -> FrameToStore:
    """Return the frame encoded in row blocks; the blocks are reversed, because a page starts with the last row."""
    return FrameToStore(
        strips=[strip for block in reversed(blocks) for strip in block.strips],
        strip_sums=[strip_sum for block in reversed(blocks) for strip_sum in block.strip_sums],
        exceptions=_deflate(_joined_exceptions(blocks)),
        beyond=sum(block.beyond for block in blocks),
        lowest=min(block.lowest for block in blocks),
        highest=max(block.highest for block in blocks),
    )


def _joined_exceptions(blocks: list[_EncodedBlock]) -> ExceptionValues:
    """Return the exceptions of all row blocks, with positions relative to the start of the frame."""
    if len(blocks) == 1:
        return blocks[0].exceptions
    return ExceptionValues.joined([(block.start, block.exceptions) for block in blocks])


def _deflate(found: ExceptionValues) -> StoredExceptions | None:
    if not found.count:
        return None
    packed = exception_block.pack(found.positions, found.originals, found.near, found.steps)
    return StoredExceptions(found.count, len(found.near), *deflate_blob(packed))
