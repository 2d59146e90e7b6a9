"""One movie into the archive: frames encoded in parallel, written in order, checked as a reader sees them, published.

Threads: the pool reads and encodes groups of strips, and later decodes and compares them; the caller writes pages; the
sums of the original come from a thread of their own. They are in the record only once it is known that the file gives
back the original.
"""

import io
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryofs.archive.check import compare_frames, work_groups
from cryofs.archive.done import rendered_from
from cryofs.archive.durable import Draft, draft
from cryofs.archive.plan import Plan
from cryofs.archive.sums import OriginalSums, SumsAlong
from cryofs.detector import counts
from cryofs.errors import ArchiveError, ChangedError
from cryofs.formats import codecs, exceptions, mrc, record, tiff
from cryofs.formats.record import Blob, Frame, FrameExceptions, Original, Record
from cryofs.formats.sums import quick_sum
from cryofs.formats.tiff import CLASSIC_LIMIT, TiffMovieWriter
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.movies.eer import EerMovie
from cryofs.movies.gain import GainLibrary
from cryofs.movies.names import original_name, printable
from cryofs.movies.source import SourceMovie
from cryofs.version import VERSION

_FRAMES_AHEAD = 2
_TRAILING_PIECE = 16 << 20
# A classic TIFF is given up this far before its end.
_CLASSIC_MARGIN = 64 << 20

OnFrame = Callable[[int], None]


class _ReplanError(Exception):
    """The plan turned out not to hold; the movie is begun anew with a better one."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan


@dataclass(frozen=True)
class _Group:
    """Neighbouring strips of a frame, encoded; the bytes of the frame where a movie is used by whole frames."""

    raw: NDArray[np.uint8] | None
    strips: list[bytes]
    positions: NDArray[np.int64]
    originals: NDArray[Any]
    lowest: int
    highest: int


@dataclass(frozen=True)
class _EncodedFrame:
    raw: NDArray[np.uint8] | None
    strips: list[bytes]
    stored_sum: str
    exception_count: int
    exceptions: bytes
    lowest: int
    highest: int

    def written(self) -> "_EncodedFrame":
        """What is still needed once its page is written."""
        return replace(self, raw=None, strips=[])


def archive_movie(
    movie: SourceMovie,
    target: Path,
    plan: Plan,
    sums: Future[OriginalSums] | None,
    gains: GainLibrary,
    pool: Executor,
    on_frame: OnFrame,
) -> int:
    """Store a movie.

    Parameters
    ----------
    sums : Future or None
        Sums of the movie, computed meanwhile; None where it is on no disk, so that they are taken from its frames.
    target : Path
        Final name of the TIFF file, replaced if it exists.
    on_frame : callable
        Called with 1 for each frame written and each checked, and with less than 0 when frames are to be done again.

    Returns
    -------
    int
        Size of the stored file.

    Raises
    ------
    ChangedError
        The movie changed while it was read.
    ArchiveError
        What was written does not give the movie back. No file stays behind.
    """
    with draft(target) as made:
        os.fchmod(made.file.fileno(), stat.S_IMODE(movie.stat.st_mode))
        along = SumsAlong(movie.header, movie.state)
        frames, plan = _write_frames_replanning(movie, made, plan, along, pool, on_frame)
        contents, end = _append_record(movie, made.file, plan, frames, target)
        made.sync()
        _check_draft(made, contents, movie, gains, pool, on_frame)
        original_sums = along.result() if sums is None else sums.result()
        contents = _complete_record(made, contents, end, original_sums)
        movie.check_unchanged()
        if original_sums.state != movie.state:
            raise ChangedError(f"{movie.name}: changed while it was read; wait until it is written, then try again")
        made.publish()
        return end + len(record.encode_record(contents, end))


def _write_frames_replanning(
    movie: SourceMovie, made: Draft, plan: Plan, along: SumsAlong, pool: Executor, on_frame: OnFrame
) -> tuple[list[_EncodedFrame], Plan]:
    while True:
        done = 0
        written: list[_EncodedFrame] = []
        try:
            writer = TiffMovieWriter(
                made.file, plan.layout, big=plan.big, description=record.MARK, software=f"cryofs {VERSION}"
            )
            with writer:
                for encoded in _encode_frames(movie, plan, pool):
                    _check_plan(plan, encoded, made.file.tell(), written)
                    writer.write_page(encoded.strips)
                    if encoded.raw is not None:
                        along.add(encoded.raw)
                    encoded = encoded.written()
                    written.append(encoded)
                    done += 1
                    on_frame(1)
            return written, plan
        except _ReplanError as better:
            plan = better.plan
            on_frame(-done)
            made.clear()
            along.clear()


def _check_plan(plan: Plan, encoded: _EncodedFrame, position: int, written: list[_EncodedFrame]) -> None:
    """Raise _ReplanError where the type is too narrow, classic TIFF too small, or exceptions cost too much."""
    dtype = plan.layout.dtype
    if dtype.kind in "ui" and not (np.iinfo(dtype).min <= encoded.lowest and encoded.highest <= np.iinfo(dtype).max):
        so_far = [*written, encoded]
        better = plan.for_range(min(frame.lowest for frame in so_far), max(frame.highest for frame in so_far))
        if better.layout.dtype != dtype:
            raise _ReplanError(better)
    size = sum(map(len, encoded.strips))
    if not plan.big and position + size > CLASSIC_LIMIT - _CLASSIC_MARGIN:
        raise _ReplanError(plan.as_big())
    if plan.plain is not None:
        spent = position + size + len(encoded.exceptions) + sum(len(frame.exceptions) for frame in written)
        if spent > plan.plain.frame_bytes * (len(written) + 1):
            raise _ReplanError(plan.plain)


def _encode_frames(movie: SourceMovie, plan: Plan, pool: Executor) -> Iterator[_EncodedFrame]:
    """Frames in order, a few being encoded ahead."""
    groups = work_groups(plan.layout, movie)
    ahead = max(_FRAMES_AHEAD, movie.decodes_at_once)
    under_way: deque[list[Future[_Group]]] = deque()
    try:
        for index in range(movie.layout.frames):
            under_way.append([pool.submit(_encode_group, movie, index, plan, group) for group in groups])
            if len(under_way) > ahead:
                yield _gather(under_way.popleft())
        while under_way:
            yield _gather(under_way.popleft())
    finally:
        for future in chain.from_iterable(under_way):
            future.cancel()


def _encode_group(movie: SourceMovie, index: int, plan: Plan, group: range) -> _Group:
    """Encode neighbouring strips of a frame; exceptions are placed in the flattened frame."""
    layout = plan.layout
    rows = layout.frame_rows(group)
    raw = movie.raw_rows(index, rows.start, rows.stop)
    values = mrc.frame_values(raw, movie.mrc_header)
    if plan.reference is None:
        form = counts.narrow(values, layout.dtype, layout.nx)
    else:
        form = counts.divide(values, plan.reference.gain[rows], layout.dtype)
    step = layout.rows_per_strip
    strips = [codecs.encode(layout.codec, form.stored[top : top + step]) for top in range(0, len(values), step)]
    whole = raw if movie.whole_frames else None
    return _Group(
        whole, strips, form.positions + rows.start * values.shape[1], form.originals, form.lowest, form.highest
    )


def _gather(groups: list[Future[_Group]]) -> _EncodedFrame:
    done = [future.result() for future in groups]
    # page order is frame order reversed, exceptions are kept in frame order
    positions = np.concatenate([group.positions for group in reversed(done)])
    originals = np.concatenate([group.originals for group in reversed(done)])
    strips = [strip for group in done for strip in group.strips]
    return _EncodedFrame(
        raw=done[0].raw,
        strips=strips,
        stored_sum=quick_sum(b"".join(strips)),
        exception_count=len(positions),
        exceptions=exceptions.pack(positions, originals) if len(positions) else b"",
        lowest=min(group.lowest for group in done),
        highest=max(group.highest for group in done),
    )


def _append_record(
    movie: SourceMovie, file: io.BufferedRandom, plan: Plan, frames: list[_EncodedFrame], target: Path
) -> tuple[Record, int]:
    """Write blobs and a record without sums behind the TIFF; return the record and its offset."""
    file.flush()
    pages = tiff.read_pages(Path(file.name), plan.layout)
    file.seek(0, os.SEEK_END)

    def store(data: bytes) -> Blob:
        blob, stored = record.deflate_blob(data, file.tell())
        file.write(stored)
        return blob

    def store_exceptions(frame: _EncodedFrame) -> FrameExceptions | None:
        return FrameExceptions(frame.exception_count, store(frame.exceptions)) if frame.exception_count else None

    header = movie.mrc_header
    contents = Record(
        original=Original(
            name=printable(original_name(target.name) or target.name),
            bytes=movie.layout.total_bytes,
            sha256="",
            mtime_ns=movie.stat.st_mtime_ns,
            atime_ns=movie.stat.st_atime_ns,
            mode=stat.S_IMODE(movie.stat.st_mode),
        ),
        header=store(movie.header),
        trailing=[store(piece) for piece in _trailing_pieces(movie)],
        shape=movie.shape,
        mrc_mode=header.mode,
        byte_order=header.byte_order,
        stored_dtype=plan.layout.dtype.name,  # type: ignore[arg-type]
        compression=plan.layout.codec.compression,
        predictor=plan.layout.codec.predictor,
        rows_per_strip=plan.layout.rows_per_strip,
        pixel_size=plan.layout.pixel_size,
        gain=plan.reference.record if plan.reference else None,
        frames=[
            Frame("", frame.stored_sum, list(page.offsets), list(page.byte_counts), store_exceptions(frame))
            for page, frame in zip(pages, frames, strict=True)
        ],
        writer=f"cryofs {VERSION}",
        rendered=rendered_from(movie) if isinstance(movie, EerMovie) else None,
    )
    end = file.tell()
    file.write(record.encode_record(contents, end))
    return contents, end


def _complete_record(made: Draft, contents: Record, end: int, sums: OriginalSums) -> Record:
    """Write the record again, at offset `end`, with the sums of the original, and read it back."""
    original = msgspec.structs.replace(contents.original, sha256=sums.sha256)
    frames = [
        msgspec.structs.replace(frame, sum=frame_sum)
        for frame, frame_sum in zip(contents.frames, sums.frames, strict=True)
    ]
    complete = msgspec.structs.replace(contents, original=original, frames=frames)
    made.file.seek(end)
    made.file.truncate()
    made.file.write(record.encode_record(complete, end))
    made.sync()
    if record.read_record(made.file.fileno(), made.file.tell(), str(made.target)) != complete:
        raise ArchiveError(f"{made.target}: the record came back changed from the disk; check the disk")
    return complete


def _trailing_pieces(movie: SourceMovie) -> Iterator[bytes]:
    offset = 0
    while piece := movie.read_trailing(_TRAILING_PIECE, offset):
        yield piece
        offset += len(piece)


def _check_draft(
    made: Draft, contents: Record, movie: SourceMovie, gains: GainLibrary, pool: Executor, on_frame: OnFrame
) -> None:
    """Read the draft as any reader would, and compare it with the original."""
    with ArchivedMovie(made.path, gains, pool) as written:
        if written.record != contents or written.header != movie.header:
            raise ArchiveError(f"{movie.name}: the header or record came back changed from the disk; check the disk")
        for offset in range(0, movie.layout.total_bytes - movie.layout.data_end, _TRAILING_PIECE):
            if written.read_trailing(_TRAILING_PIECE, offset) != movie.read_trailing(_TRAILING_PIECE, offset):
                raise ArchiveError(f"{movie.name}: the trailing bytes came back changed; check the disk")
        check_pages(written)
        compare_frames(written, movie, pool, on_frame)
