"""Check written frames: read them from the file, decode them, and compare checksums with those of the original.

Small frames are checked in runs; if a run fails, its frames are checked one by one, to name the one that failed.
"""

from cryofs.compress.row_blocks import OriginalSums, Workers
from cryofs.compress.written import WrittenFrame
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.blob import inflate
from cryofs.movies.frame_decoder import EncodedOriginal, FrameDecoder, FrameName
from cryofs.storage.atomic_file import Draft
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.byte_window import window_over
from cryofs.storage.checksums import xxh3_checksum


def check_frames(
    movie: str,
    made: Draft,
    decoder: FrameDecoder,
    run: range,
    frames: list[WrittenFrame],
    sums: OriginalSums,
    workers: Workers,
) -> int:
    """Check consecutive written frames; return the number of checked frames."""
    source: ByteSource = LocalFile(made.file.fileno(), movie, is_owned=False)
    if len(run) > 1:
        written = frames[run.start : run.stop]
        source = window_over(source, ((frame.offsets[0], sum(frame.byte_counts)) for frame in written))
        if _is_intact(source, decoder, written, sums.frames[run.start : run.stop], workers, movie):
            return len(run)
    for index in run:
        name = FrameName(movie, index, "check memory and disk")
        _check_frame(source, decoder, frames[index], sums.frames[index], workers, name)
    return len(run)


def _is_intact(
    source: ByteSource,
    decoder: FrameDecoder,
    frames: list[WrittenFrame],
    original_sums: list[str],
    workers: Workers,
    movie: str,
) -> bool:
    """Return True if frames have their checksums; False if one has not, or if they cannot be checked together."""
    if decoder.reference is not None or any(frame.exceptions for frame in frames):
        return False
    pages = []
    for frame in frames:
        pages.append(_read_strips(source, frame, movie))
        # strips are verified first, because a decoder may crash on damaged ones
        if list(map(xxh3_checksum, pages[-1])) != frame.strip_sums:
            return False
    memory = workers.scratch.take(decoder.run_bytes(len(frames)))
    try:
        return decoder.run_checksums(pages, memory) == original_sums
    except CryofsError:
        return False


def _read_strips(source: ByteSource, frame: WrittenFrame, place: str) -> list[bytes]:
    places = zip(frame.byte_counts, frame.offsets, strict=True)
    return [source.read_exactly(size, offset, place) for size, offset in places]


def _check_frame(
    source: ByteSource,
    decoder: FrameDecoder,
    frame: WrittenFrame,
    original_sum: str,
    workers: Workers,
    name: FrameName,
) -> None:
    """Decode a frame from the file; raise ArchiveError unless its checksum equals that of the original frame."""
    place = f"{name.movie}, frame {name.index}"
    strips = _read_strips(source, frame, place)
    packed = inflate(frame.exceptions.stored) if frame.exceptions else b""
    count, near = (frame.exceptions.count, frame.exceptions.near) if frame.exceptions else (0, 0)
    try:
        # strips are verified first, because a decoder may crash on damaged ones
        same = list(map(xxh3_checksum, strips)) == frame.strip_sums
        encoded = EncodedOriginal(name, decoder, dict(enumerate(strips)), packed, count, near)
        same = same and encoded.original_checksum(workers.scratch.take(decoder.checking_bytes)) == original_sum
    except CryofsError as error:
        raise ArchiveError(f"{place}: does not decode ({error}); check memory and disk") from error
    if not same:
        raise ArchiveError(f"{place}: checksum mismatch after writing; check memory and disk")
