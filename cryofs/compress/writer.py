"""Write an archived movie: write all pages and check each one, append the record, and rename the file.

Threads: the movie's own thread reads and writes; the pool encodes row blocks of frames, and decodes and checks
written frames. A frame is read from the page cache, decoded by the code that mounts use, and compared with the checksum
of its original.
"""

import io
import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Self

import msgspec

from cryofs.compress.encode import FrameToStore, StoredExceptions, encode_frames
from cryofs.compress.plan import Plan
from cryofs.compress.row_blocks import OriginalSums, Workers, trailing_pieces
from cryofs.errors import ArchiveError, CryofsError, NotSmallerError
from cryofs.formats import record, tiff_pages
from cryofs.formats.archive_names import original_name
from cryofs.formats.record import Blob, Frame, FrameExceptions, Original, Record
from cryofs.formats.tiff_pages import CLASSIC_LIMIT
from cryofs.formats.tiff_writer import TiffMovieWriter
from cryofs.gain.samples import take_samples
from cryofs.movies.frame_decoder import EncodedOriginal, FrameDecoder, FrameName
from cryofs.movies.source import SourceMovie
from cryofs.storage import changes
from cryofs.storage.atomic_file import Draft, draft
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.byte_window import window_over
from cryofs.storage.checksum_lists import replacing
from cryofs.storage.checksums import xxh3_checksum
from cryofs.text import as_unicode, percent
from cryofs.version import VERSION

# Frames that may be written before the check of the oldest has ended.
_CHECKS_AHEAD = 4
# A classic TIFF is abandoned this far before its limit.
_CLASSIC_MARGIN = 64 << 20

OnFrame = Callable[[int], None]


class _ReplanError(Exception):
    """Raised if the plan does not fit the movie; writing restarts with the better plan that it carries."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan


@dataclass(frozen=True)
class _WrittenFrame:
    """A written frame, as described in the record."""

    offsets: list[int]
    byte_counts: list[int]
    strip_sums: list[str]
    exceptions: StoredExceptions | None

    @classmethod
    def at(cls, offset: int, frame: FrameToStore) -> Self:
        """Return the description of a frame whose strips are stored one after the other from an offset."""
        sizes = list(map(len, frame.strips))
        offsets = list(accumulate(sizes[:-1], initial=offset))
        return cls(offsets, sizes, frame.strip_sums, frame.exceptions)


@dataclass
class _Written:
    """Written frames, and the figures to check the plan against."""

    frames: list[_WrittenFrame] = field(default_factory=list)
    counted: int = 0
    lowest: int = 0
    highest: int = 0
    strip_bytes: int = 0
    exception_bytes: int = 0
    narrowing_bytes: int = 0
    reported: int = 0

    def count(self, frame: FrameToStore) -> None:
        """Add the figures of a frame that is about to be written."""
        self.counted += 1
        self.lowest, self.highest = min(self.lowest, frame.lowest), max(self.highest, frame.highest)
        self.strip_bytes += frame.strip_bytes
        self.exception_bytes += frame.exception_bytes
        self.narrowing_bytes += frame.narrowing_bytes


def archive_movie(
    movie: SourceMovie,
    target: Path,
    plan: Plan,
    workers: Workers,
    on_frame: OnFrame,
    limit: float | None = None,
    check_target: Callable[[], None] = lambda: None,
) -> int:
    """Write an archived movie, check all frames, and return the size of the file.

    Parameters
    ----------
    target : Path
        Final path of the TIFF file; an existing file is replaced.
    on_frame : callable
        Called with the number of frames that were written and checked, and with a negative number when frames have to
        be written again.
    limit : float, optional
        Largest size of the stored file.
    check_target : callable
        Called before the file gets its name; raises an error if another program has written the target meanwhile.

    Returns
    -------
    int
        Size of the stored file.

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
        mode = stat.S_IMODE(movie.stat.st_mode)
        # writable until it is complete: some file systems lock only writable files, and stale drafts are found by locks
        changes.disk.set_mode(made.file.fileno(), mode | stat.S_IWUSR)
        written = _Written()
        while True:
            # the range is kept, so that pixels only become wider and the attempts end
            sums = OriginalSums(of_file=movie.rendered is None)
            written = _Written(lowest=written.lowest, highest=written.highest)
            try:
                _write_frames(movie, made, plan, sums, written, workers, on_frame)
                break
            except _ReplanError as better:
                plan = better.plan
                on_frame(-written.reported)
                made.clear()
        contents = _append_record(movie, made, plan, written.frames, sums)
        if limit is not None and made.file.tell() > limit:
            share = percent(made.file.tell() / movie.stat.st_size)
            raise NotSmallerError(f"{movie.name}: compresses only to {share} of the original size")
        changes.disk.set_mode(made.file.fileno(), mode)
        made.sync()
        _check_record(made, contents)
        movie.check_in_place()
        # a plain copy of this name may have a line
        with replacing(target):
            check_target()
            made.publish()
        return made.file.tell()


def _write_frames(
    movie: SourceMovie,
    made: Draft,
    plan: Plan,
    sums: OriginalSums,
    written: _Written,
    workers: Workers,
    on_frame: OnFrame,
) -> None:
    """Write and check all pages; on return, `sums` and `written` are complete."""
    plan.layout.codec.load_compiled()
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
                    _check_plan(movie, plan, frame, made.file.tell(), written, workers)
                    written.frames.append(_WrittenFrame.at(writer.write_page(frame.strips), frame))
                made.file.flush()
                run = range(first, len(written.frames))
                checks.append(
                    workers.pool.submit(_check_frames, movie.name, made, decoder, run, written.frames, sums, workers)
                )
                finish_checks(_CHECKS_AHEAD)
        finish_checks(0)
    finally:
        for check in checks:
            check.cancel()


def _check_plan(
    movie: SourceMovie, plan: Plan, frame: FrameToStore, position: int, written: _Written, workers: Workers
) -> None:
    """Raise _ReplanError if the pixel type is too narrow, the file too large for classic TIFF, or counts too large."""
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


def _check_frames(
    movie: str,
    made: Draft,
    decoder: FrameDecoder,
    run: range,
    frames: list[_WrittenFrame],
    sums: OriginalSums,
    workers: Workers,
) -> int:
    """Check consecutive written frames, and return the number of frames."""
    source: ByteSource = LocalFile(made.file.fileno(), movie, is_owned=False)
    if len(run) > 1:
        written = frames[run.start : run.stop]
        source = window_over(source, ((frame.offsets[0], sum(frame.byte_counts)) for frame in written))
    for index in run:
        name = FrameName(movie, index, "check memory and disk")
        _check_frame(source, decoder, frames[index], sums.frames[index], workers, name)
    return len(run)


def _check_frame(
    source: ByteSource,
    decoder: FrameDecoder,
    frame: _WrittenFrame,
    original_sum: str,
    workers: Workers,
    name: FrameName,
) -> None:
    """Decode a frame from the file; raise ArchiveError unless its checksum equals that of the original frame."""
    places = zip(frame.byte_counts, frame.offsets, strict=True)
    place = f"{name.movie}, frame {name.index}"
    strips = [source.read_exactly(size, offset, place) for size, offset in places]
    packed = record.inflate(frame.exceptions.stored) if frame.exceptions else b""
    count, near = (frame.exceptions.count, frame.exceptions.near) if frame.exceptions else (0, 0)
    try:
        # a decoder may crash on damaged strips, so these are checked first
        same = list(map(xxh3_checksum, strips)) == frame.strip_sums
        encoded = EncodedOriginal(name, decoder, dict(enumerate(strips)), packed, count, near)
        same = same and encoded.original_checksum(workers.scratch.take(decoder.checking_bytes)) == original_sum
    except CryofsError as error:
        raise ArchiveError(f"{place}: does not decode ({error}); check memory and disk") from error
    if not same:
        raise ArchiveError(f"{place}: checksum mismatch after writing; check memory and disk")


def _append_record(
    movie: SourceMovie, made: Draft, plan: Plan, frames: list[_WrittenFrame], sums: OriginalSums
) -> Record:
    """Append the blobs and the record to the TIFF, and return the record."""
    file = made.file
    file.flush()
    pages = tiff_pages.read_pages(made.path, plan.layout, len(frames))
    if [page.lists() for page in pages] != [(frame.offsets, frame.byte_counts) for frame in frames]:
        raise ArchiveError(f"{made.target}: TIFF pages read back differ from the written ones; check the disk")
    file.seek(0, os.SEEK_END)
    head = _store(file, *record.deflate_blob(movie.header))
    trailing = []
    for piece in trailing_pieces(movie):
        sums.add(piece)
        trailing.append(_store(file, *record.deflate_blob(piece)))
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
    """Read the record, header, exceptions and trailing bytes back; raise an error if any of them is damaged."""
    name = str(made.target)
    source = LocalFile(made.file.fileno(), name, is_owned=False)
    if record.read_record(source) != contents:
        raise ArchiveError(f"{name}: record read back differs from the written one; check the disk")
    exceptions = [frame.exceptions.blob for frame in contents.frames if frame.exceptions]
    for blob in [contents.header, *contents.trailing, *exceptions]:
        record.read_blob(source, blob)
