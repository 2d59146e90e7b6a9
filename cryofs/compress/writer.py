"""Write an archived movie: write and check all pages, append the record, and rename the file.

Threads: the movie's own thread reads and writes. A thread pool encodes row blocks, and decodes and checks written
frames. To check a frame, its bytes are read from the page cache, decoded by the code that mounts use, and compared with
the checksum of the original.
"""

import contextlib
import io
import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from cryofs.compress.encode import FrameToStore, StoredExceptions, encode_frames
from cryofs.compress.plan import Plan
from cryofs.compress.read_back import check_frames
from cryofs.compress.row_blocks import OriginalSums, Workers, trailing_pieces
from cryofs.compress.written import Written, WrittenFrame
from cryofs.errors import ArchiveError, NotSmallerError
from cryofs.formats import record, tiff_pages
from cryofs.formats.archive_names import original_name
from cryofs.formats.blob import Blob, deflate_blob, read_blob
from cryofs.formats.record import Frame, FrameExceptions, Original, Record
from cryofs.formats.tiff_pages import CLASSIC_LIMIT
from cryofs.formats.tiff_writer import TiffMovieWriter
from cryofs.gain.samples import take_samples
from cryofs.kernels import from_counts
from cryofs.movies.frame_decoder import FrameDecoder
from cryofs.movies.source import SourceMovie
from cryofs.storage import changes
from cryofs.storage.atomic_file import Draft, draft
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import replacing
from cryofs.text import as_unicode, percent
from cryofs.version import VERSION

# Number of frames that may be written before the check of the oldest is finished.
_CHECKS_AHEAD = 4
# Distance from the limit of classic TIFF at which a classic file is abandoned.
_CLASSIC_MARGIN = 64 << 20

OnFrame = Callable[[int], None]
Publishing = Callable[[Draft], AbstractContextManager[object]]


class _ReplanError(Exception):
    """The plan does not fit the movie; carries a better plan with which writing restarts."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan


def archive_movie(
    movie: SourceMovie,
    target: Path,
    plan: Plan,
    workers: Workers,
    on_frame: OnFrame,
    limit: float | None = None,
    publishing: Publishing = contextlib.nullcontext,
) -> int:
    """Write an archived movie, check all frames, and return the size of the file in bytes.

    Parameters
    ----------
    target : Path
        Final path of the TIFF file; an existing file is replaced.
    on_frame : callable
        Called with the number of frames that were written and checked; with a negative number if frames must be
        written again.
    limit : float, optional
        Maximum size of the stored file in bytes; None for no limit.
    publishing : callable
        Returns a context for the draft in which it gets its name.

    Returns
    -------
    int
        Size of the stored file in bytes.

    Raises
    ------
    ChangedError
        The movie changed while it was read.
    NotSmallerError
        The stored file would be larger than the limit. No file is left behind.
    ArchiveError
        The stored file does not reproduce the movie. No file is left behind.
    """
    with draft(target) as made:
        stored = write_movie(movie, made, plan, workers, on_frame, limit)
        movie.check_in_place()
        # a plain copy of this name may have a checksum line
        with publishing(made), replacing(target):
            made.publish()
        return stored


def write_movie(
    movie: SourceMovie,
    made: Draft,
    plan: Plan,
    workers: Workers,
    on_frame: OnFrame,
    limit: float | None = None,
    *,
    ingested: bool = False,
) -> int:
    """Write a movie into a draft, check all frames, and sync the draft; return its size.

    Parameters and errors are those of `archive_movie`. The caller checks that the movie is unchanged.
    """
    mode = stat.S_IMODE(movie.stat.st_mode)
    # the draft of a private movie is private too
    changes.disk.set_mode(made.file.fileno(), mode | stat.S_IWUSR)
    written = Written()
    while True:
        # the range of counts is kept, so that pixels only become wider and the loop ends
        sums = OriginalSums(of_file=movie.rendered is None)
        written = Written(lowest=written.lowest, highest=written.highest)
        try:
            _write_frames(movie, made, plan, sums, written, workers, on_frame)
            break
        except _ReplanError as better:
            plan = better.plan
            on_frame(-written.reported)
            made.clear()
    contents = _append_record(movie, made, plan, written.frames, sums, ingested=ingested)
    if limit is not None and made.file.tell() > limit:
        share = percent(made.file.tell() / movie.source_bytes)
        raise NotSmallerError(f"{movie.name}: only compresses to {share} of the original size")
    changes.disk.set_mode(made.file.fileno(), mode)
    made.sync()
    _check_record(made, contents)
    return made.file.tell()


def _write_frames(
    movie: SourceMovie,
    made: Draft,
    plan: Plan,
    sums: OriginalSums,
    written: Written,
    workers: Workers,
    on_frame: OnFrame,
) -> None:
    """Write and check all pages; on return, `sums` and `written` are complete."""
    plan.layout.codec.load_compiled()
    if plan.reference is not None:
        from_counts.load_compiled()
    decoder = FrameDecoder(plan.layout, movie.mrc_header, plan.reference.gain if plan.reference else None)
    checks: deque[Future[int]] = deque()

    def finish_checks(ahead: int) -> None:
        while len(checks) > ahead:
            checked = checks.popleft().result()
            written.reported += checked
            on_frame(checked)

    software = f"cryofs {VERSION}"
    writer = TiffMovieWriter(made.file, plan.layout, big=plan.big, description=record.MARK, software=software)
    try:
        with writer:
            for frames in encode_frames(movie, plan, sums, workers):
                first = len(written.frames)
                for frame in frames:
                    written.count(frame)
                    _check_plan(movie, plan, frame, writer.end, written, workers)
                    written.frames.append(WrittenFrame.at(writer.write_page(frame.strips), frame))
                made.file.flush()
                run = range(first, len(written.frames))
                checks.append(
                    workers.pool.submit(check_frames, movie.name, made, decoder, run, written.frames, sums, workers)
                )
                finish_checks(_CHECKS_AHEAD)
        finish_checks(0)
    finally:
        for check in checks:
            check.cancel()


def _check_plan(
    movie: SourceMovie, plan: Plan, frame: FrameToStore, position: int, written: Written, workers: Workers
) -> None:
    """Raise _ReplanError if the pixel type is too narrow, classic TIFF too small, or counts larger than values."""
    if not plan.holds(written.lowest, written.highest):
        dtype = plan.dtype_for(written.lowest, written.highest)
        if dtype != plan.layout.dtype and not plan.affords(written.narrowing_bytes, written.strip_bytes):
            raise _ReplanError(plan.with_dtype(dtype, take_samples(movie), workers.pool))
    if not plan.big and position + frame.strip_bytes > CLASSIC_LIMIT - _CLASSIC_MARGIN:
        raise _ReplanError(plan.as_big())
    if plan.plain is not None:
        spent = written.strip_bytes + written.exception_bytes
        if spent > plan.plain.frame_bytes * written.counted:
            raise _ReplanError(plan.plain)


def _append_record(
    movie: SourceMovie, made: Draft, plan: Plan, frames: list[WrittenFrame], sums: OriginalSums, *, ingested: bool
) -> Record:
    """Append the blobs and the record to the TIFF file, and return the record."""
    file = made.file
    file.flush()
    pages = tiff_pages.read_pages(made.path, plan.layout, len(frames))
    if [page.lists() for page in pages] != [(frame.offsets, frame.byte_counts) for frame in frames]:
        raise ArchiveError(f"{made.target}: TIFF directories read back differ from the written ones; check the disk")
    file.seek(0, os.SEEK_END)
    head = _store(file, *deflate_blob(movie.header))
    trailing = []
    for piece in trailing_pieces(movie):
        sums.add(piece)
        trailing.append(_store(file, *deflate_blob(piece)))
    header, layout = movie.mrc_header, plan.layout
    contents = Record(
        original=Original(
            name=as_unicode(original_name(made.target.name) or made.target.name),
            bytes=movie.layout.total_bytes,
            sha256=sums.sha256,
            mtime_ns=movie.stat.st_mtime_ns,
            atime_ns=movie.stat.st_atime_ns,
            mode=stat.S_IMODE(movie.stat.st_mode),
        ),
        header=head,
        trailing=trailing,
        shape=movie.shape,
        mrc_mode=header.mode,
        byte_order=header.byte_order,
        stored_dtype=layout.dtype.name,  # type: ignore[arg-type]
        compression=layout.codec.compression,
        predictor=layout.codec.predictor,
        rows_per_strip=layout.rows_per_strip,
        pixel_size=layout.pixel_size,
        gain=plan.reference.record if plan.reference else None,
        frames=[
            Frame(
                original_sum,
                frame.offsets,
                frame.byte_counts,
                frame.strip_sums,
                _store_exceptions(file, frame.exceptions),
            )
            for frame, original_sum in zip(frames, sums.frames, strict=True)
        ],
        writer=f"cryofs {VERSION}",
        rendered=movie.rendered,
        coder=plan.encoder.name,
        packed=movie.packed,
        ingested=ingested,
    )
    file.write(record.encode_record(contents, file.tell()))
    return contents


def _store(file: io.BufferedRandom, blob: Blob, stored: bytes) -> Blob:
    placed = msgspec.structs.replace(blob, offset=file.tell())
    file.write(stored)
    return placed


def _store_exceptions(file: io.BufferedRandom, found: StoredExceptions | None) -> FrameExceptions | None:
    return FrameExceptions(found.count, _store(file, found.blob, found.stored), found.near) if found else None


def _check_record(made: Draft, contents: Record) -> None:
    """Read back the record, header, exceptions and trailing bytes; raise ArchiveError or DamagedError on mismatch."""
    name = str(made.target)
    source = LocalFile(made.file.fileno(), name, is_owned=False)
    if record.read_record(source) != contents:
        raise ArchiveError(f"{name}: the record read back differs from the written one; check the disk")
    exceptions = [frame.exceptions.blob for frame in contents.frames if frame.exceptions]
    for blob in [contents.header, *contents.trailing, *exceptions]:
        read_blob(source, blob)
