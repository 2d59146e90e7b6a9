"""The file of an archived movie: its record, the strips of its frames, its header and trailing bytes.

Several threads may read an archived file at once.
"""

from cryofs.errors import DamagedError
from cryofs.formats.blob import Blob, read_blob
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.record import Frame, FrameVersion1, Record, read_record
from cryofs.formats.record_check import layout_of, page_layout_of
from cryofs.movies.frame_decoder import FrameName
from cryofs.storage.byte_source import ByteSource, LocalFile, missing_bytes
from cryofs.storage.byte_window import window_over
from cryofs.storage.checksums import xxh3_checksum

_REMEDY = "restore the file from a backup"


class ArchivedFile:
    """An open archived movie that returns encoded strips; it decodes nothing.

    Parameters
    ----------
    source : LocalFile
        The TIFF file; closed with this object, and also if the constructor raises an error.

    Attributes
    ----------
    record : Record
        Record of the original.
    layout : Layout
        Sizes of the original.
    page_layout : PageLayout
        Layout of the TIFF pages.

    Raises
    ------
    DamagedError
        The record is damaged or missing.
    """

    def __init__(self, source: LocalFile):
        self.source = source
        self.name = source.name
        try:
            self.record: Record = read_record(source)
            self.layout = layout_of(self.record, self.name)
            self.page_layout = page_layout_of(self.record)
        except BaseException:
            source.close()
            raise
        self._header: MrcHeader | None = None

    @property
    def header(self) -> MrcHeader:
        """MRC header of the original, read at the first access."""
        if self._header is None:
            raw = self._blob(self.record.header)
            frames, ny, nx = self.record.shape
            self._header = MrcHeader(raw, self.record.byte_order, nx, ny, frames, self.record.mrc_mode)
        return self._header

    @property
    def has_row_blocks(self) -> bool:
        """True if row blocks can be verified; records of version 1 have no checksum for each strip."""
        return not isinstance(self.record.frames[0], FrameVersion1)

    def read_ahead(self, frames: range) -> ByteSource:
        """Read consecutive frames into memory if their bytes are adjacent; return the source for `read_strips`."""
        found = self.record.frames[frames.start : frames.stop]
        strips = (place for frame in found for place in zip(frame.offsets, frame.byte_counts, strict=False))
        blobs = (frame.exceptions.blob for frame in found if frame.exceptions)
        return window_over(window_over(self.source, strips), ((blob.offset, blob.stored) for blob in blobs))

    def read_strips(self, index: int, numbers: range, source: ByteSource | None = None) -> dict[int, bytes]:
        """Return encoded strips of a frame by number, after verifying their checksums.

        Verification comes first because some decoders crash on a damaged strip.

        Parameters
        ----------
        source : ByteSource or None
            Result of `read_ahead` for a range with this frame; None to read from the file.
        """
        source = source or self.source
        frame = self.record.frames[index]
        self._check_claims(frame)
        if isinstance(frame, FrameVersion1):
            return self._read_frame_version_1(frame, source)
        strips = {}
        for number in numbers:
            size, offset = frame.byte_counts[number], frame.offsets[number]
            data = source.read(size, offset)
            if len(data) < size:
                raise missing_bytes(f"strip {number}", size, offset, len(data))
            if xxh3_checksum(data) != frame.strip_sums[number]:
                raise DamagedError(f"checksum mismatch in strip {number}")
            strips[number] = data
        return strips

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes after the last frame of the original, `offset` bytes after its end."""
        pieces = []
        start = 0
        for blob in self.record.trailing:
            if start < offset + size and offset < start + blob.size:
                data = self._blob(blob)
                pieces.append(data[max(offset - start, 0) : offset + size - start])
            start += blob.size
        return b"".join(pieces)

    def frame_name(self, index: int) -> FrameName:
        """Return the name of a frame for messages."""
        return FrameName(self.name, index, _REMEDY)

    def damaged(self, index: int, error: Exception) -> DamagedError:
        """Return a DamagedError that names the frame; raise ChangedError instead if the file was overwritten."""
        self.source.check_unchanged()
        return self.frame_name(index).damaged(error)

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def _blob(self, blob: Blob) -> bytes:
        try:
            return read_blob(self.source, blob)
        except DamagedError:
            self.source.check_unchanged()
            raise

    def _read_frame_version_1(self, frame: FrameVersion1, source: ByteSource) -> dict[int, bytes]:
        """Return all strips of a frame of a version 1 record, which has at most one checksum for all of them."""
        places = enumerate(zip(frame.byte_counts, frame.offsets, strict=True))
        strips = {number: source.read_exactly(size, offset, f"strip {number}") for number, (size, offset) in places}
        if frame.stored_sum is None:
            # the checksum of the decoded frame alone cannot distinguish damage from an overwritten file
            self.source.check_unchanged()
        elif xxh3_checksum(b"".join(strips.values())) != frame.stored_sum:
            raise DamagedError("checksum mismatch in its strips")
        return strips

    def _check_claims(self, frame: Frame) -> None:
        """Raise DamagedError if the record is inconsistent, before a reader allocates memory of the sizes in it."""
        layout = self.page_layout
        sums = layout.strips if isinstance(frame, FrameVersion1) else len(frame.strip_sums)
        if not len(frame.offsets) == len(frame.byte_counts) == sums == layout.strips:
            raise DamagedError(
                f"invalid record: wrong number of strips (expected {layout.strips}, got {len(frame.offsets)})"
            )
        if max(map(sum, zip(frame.offsets, frame.byte_counts, strict=True))) > self.source.size:
            raise DamagedError("invalid record: its strips are beyond the end of the file")
        stored = sum(frame.byte_counts)
        if stored > min(self.source.size, layout.most_stored_bytes):
            raise DamagedError(f"invalid record: its strips take {stored} bytes, more than the file allows")
        if layout.page_bytes > layout.codec.most_expansion * stored:
            raise DamagedError(f"invalid record: its strips cannot decode to {layout.page_bytes} bytes")
