"""Read and write the record, the metadata of the original file after the last TIFF page of an archived movie.

Layout of the end of the file::

    TIFF | blobs | record | footer

The record is deflated JSON. The footer is the last 48 bytes, so that one read at the end of a file locates everything:
magic (8 bytes), version and zero (uint32 each), offset and length of the record (uint64 each), XXH3-128 of the record;
all little-endian. No TIFF tag refers to the record, so TIFF readers do not encounter unknown tags.
"""

import struct
import zlib
from typing import Annotated, Literal

import msgspec

from cryofs.codecs.predictor import Predictor
from cryofs.codecs.registry import compressions
from cryofs.errors import DamagedError
from cryofs.formats.blob import Blob, Count
from cryofs.storage.byte_source import ByteSource
from cryofs.storage.checksums import xxh3_checksum

# The version that is written. Versions differ in two bits or more, so that a flipped bit never makes one of another;
# therefore there is no version 3.
VERSION = 4
MAGIC = b"\x89cryofs\n"
# Part of the ImageDescription of the first page, near the start of the file. It distinguishes an archived movie without
# its end from a TIFF of another program.
MARK = "archived by cryofs; record at the end of this file"

_FOOTER = struct.Struct("<8sIIQQ16s")
HEAD_BYTES = 4096
# Read at once: footer and record of a movie of up to sixty frames.
_TAIL_BYTES = 32 << 10
# Largest piece in which the bytes after the last frame are stored.
TRAILING_PIECE_BYTES = 16 << 20
# Largest number of characters of a record per byte of the file. Each strip and frame in a record also takes bytes in
# the TIFF directories.
_MOST_TEXT = 16
# Largest record of any file, enough for four million strips; needed because a file may be sparse.
_MAX_TEXT_BYTES = 256 << 20


# Valid range of permission bits.
Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
Rounding = Literal["even", "up", "down"]


class FrameExceptions(msgspec.Struct, frozen=True):
    """Exceptions of a frame: their number, how many of them are near, and the blob that contains them."""

    count: Count
    blob: Blob
    near: Count = 0


class Frame(msgspec.Struct, frozen=True):
    """A frame: XXH3-128 of the original bytes, location and XXH3-128 of each strip, and exceptions."""

    sum: str
    offsets: list[Count]
    byte_counts: list[Count]
    strip_sums: list[str]
    exceptions: FrameExceptions | None = None


class FrameVersion1(Frame, frozen=True):
    """A frame in a record of version 1, which does not contain a checksum of each strip.

    Attributes
    ----------
    stored_sum : str or None
        XXH3-128 of all strips of the frame, one after the other; None in the oldest records, which have no checksum of
        stored bytes.
    """

    strip_sums: list[str] = []
    stored_sum: str | None = None


class Original(msgspec.Struct, frozen=True):
    """The original file. Times are in nanoseconds; mode contains the permission bits of stat.

    Attributes
    ----------
    sha256 : str or None
        SHA-256 of the whole file; None for EER fractions and adopted TIFF movies, because no such MRC file existed.
        Checksums of the header and the frames protect these movies.
    """

    name: str
    bytes: Count
    sha256: str | None
    mtime_ns: int
    atime_ns: int
    mode: Mode


class Gain(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gain reference of the counts, identified by its SHA-256; name and arithmetic are hints.

    Attributes
    ----------
    scale : float
        Factor of the reference for integer values, rounded to float32 before use; 1 for float32 values.
    rounding : str or None
        How products became integers: ``"even"`` and ``"up"`` for the nearest, with ties to even or up, and ``"down"``
        for truncation; None for float32 values. Since version 4.
    """

    sha256: str
    name: str
    arithmetic: str = ""
    scale: float = 1.0
    rounding: Rounding | None = None


class Rendered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The EER file from which a movie of fractions was rendered, and the options.

    Attributes
    ----------
    frames : int
        Number of camera frames.
    damaged_frames : list of int
        Camera frames excluded as damaged.
    spread : bool
        Whether frames that fill no fraction were spread over the last fractions.
    crop : int or None
        Upsampling after cropping in Fourier space; None without cropping.
    scale : float or None
        Factor from electrons to pixel values; None for 1.
    gain : str or None
        Checksum of the gain factors by which the pixels were multiplied; None if they were not.
    """

    name: str
    bytes: Count
    mtime_ns: int
    frames: int
    grouping: int
    upsampling: int
    damaged_frames: list[int]
    spread: bool = False
    crop: int | None = None
    scale: float | None = None
    gain: str | None = None


class Adopted(msgspec.Struct, frozen=True):
    """The adopted TIFF file of another program: size and SHA-256 of the bytes before this record.

    Attributes
    ----------
    gain : Gain or None
        The gain reference nearest to the movie in the folder tree. Readers do not apply it, but report it if missing.
    """

    name: str
    bytes: Count
    sha256: str
    gain: Gain | None = None


class Record(msgspec.Struct, frozen=True):
    """Everything needed to restore the original file, except pixels and gain reference.

    Attributes
    ----------
    header : Blob
        All bytes before the first frame.
    trailing : list of Blob
        All bytes after the last frame, in pieces.
    shape : tuple
        Numbers of frames, rows and columns.
    mrc_mode : int
        MODE of the original.
    byte_order : str
        ``"<"`` or ``">"``.
    stored_dtype : str
        Type of the TIFF pixels.
    gain : Gain or None
        Gain reference of the counts; None if the pixels are the values themselves.
    coder : str
        Name of the encoder of the strips; not needed for reading.
    rendered : Rendered or None
        The EER file and the options if the movie was rendered from an EER file, otherwise None.
    adopted : Adopted or None
        The TIFF file if this record was appended to a TIFF movie of another program, otherwise None.
    """

    original: Original
    header: Blob
    trailing: list[Blob]
    shape: tuple[Count, Count, Count]
    mrc_mode: int
    byte_order: Literal["<", ">"]
    stored_dtype: Literal["uint8", "int8", "uint16", "int16", "float32"]
    compression: str
    predictor: Predictor
    rows_per_strip: Count
    pixel_size: float | None
    gain: Gain | None
    frames: list[Frame]
    writer: str
    rendered: Rendered | None = None
    coder: str = ""
    adopted: Adopted | None = None

    @property
    def source_bytes(self) -> int:
        """Size of the source file: the original MRC, the rendered EER or the adopted TIFF file."""
        source = self.rendered or self.adopted or self.original
        return source.bytes

    @property
    def needed_gain(self) -> Gain | None:
        """Gain reference without which the movie cannot be used, or None if no reference is required."""
        return self.adopted.gain if self.adopted else self.gain


class RecordVersion1(Record, frozen=True):
    """A record of version 1, with frames of version 1."""

    frames: list[FrameVersion1]  # type: ignore[assignment]


_RECORD_TYPES: dict[int, type[Record]] = {1: RecordVersion1, 2: Record, VERSION: Record}
# All versions that are read.
VERSIONS = tuple(_RECORD_TYPES)


def encode_record(record: Record, offset: int) -> bytes:
    """Return the bytes of a record and its footer; `offset` is where the caller writes them, the end of the file."""
    body = zlib.compress(msgspec.json.encode(record))
    digest = bytes.fromhex(xxh3_checksum(body))
    return body + _FOOTER.pack(MAGIC, VERSION, 0, offset, len(body), digest)


def is_archived(source: ByteSource) -> bool:
    """Return True if cryofs wrote this file, even if the file has been damaged since.

    Raises
    ------
    DamagedError
        The file ends before the size that the system reports, so that the footer cannot be read.
    """
    size, name = source.size, source.name
    if size >= _FOOTER.size:
        footer = source.read_exactly(_FOOTER.size, size - _FOOTER.size, name)
        magic, version, zero, offset, length, _ = _FOOTER.unpack(footer)
        # an adopted TIFF has no mark at its start; the fields after a damaged magic identify a footer
        if magic == MAGIC or (version in _RECORD_TYPES and (zero, offset + length + _FOOTER.size) == (0, size)):
            return True
    return MARK.encode() in source.read_exactly(min(size, HEAD_BYTES), 0, name)


def read_record(source: ByteSource) -> Record:
    """Read and check the record of an archived movie, and return it.

    Raises
    ------
    DamagedError
        The record is missing or damaged, or a newer version of cryofs wrote the file.
    """
    size, name = source.size, source.name
    tail = source.read(min(size, _TAIL_BYTES), max(size - _TAIL_BYTES, 0))
    footer = tail[-_FOOTER.size :]
    if len(tail) < min(size, _TAIL_BYTES) or len(footer) < _FOOTER.size or not footer.startswith(MAGIC):
        raise DamagedError(
            f"{name}: no record at the end of the file, which may be truncated; restore the file from a backup"
        )
    _, version, zero, offset, length, digest = _FOOTER.unpack(footer)
    if version not in _RECORD_TYPES:
        raise DamagedError(
            f"{name}: unsupported version of the record (expected {', '.join(map(str, VERSIONS))}, got {version}); "
            "use a newer cryofs"
        )
    if zero or length > min(size, _MAX_TEXT_BYTES) or offset + length + _FOOTER.size != size:
        raise DamagedError(f"{name}: damaged footer; restore the file from a backup")
    if length + _FOOTER.size <= len(tail):
        body = tail[-_FOOTER.size - length : -_FOOTER.size]
    else:
        body = source.read_exactly(length, offset, f"{name}, the record")
    if xxh3_checksum(body) != digest.hex():
        raise DamagedError(f"{name}: checksum mismatch in the record; restore the file from a backup")
    try:
        text = zlib.decompressobj().decompress(body, min(_MOST_TEXT * size, _MAX_TEXT_BYTES))
        record = msgspec.json.decode(text, type=_RECORD_TYPES[version])
    except (zlib.error, msgspec.MsgspecError, RecursionError) as error:
        raise DamagedError(
            f"{name}: record not readable ({str(error)[:200]}); restore the file from a backup"
        ) from error
    if record.compression not in compressions():
        raise DamagedError(
            f"{name}: unsupported compression in the record (expected {', '.join(compressions())}, "
            f"got {record.compression[:20]!r}); use a newer cryofs"
        )
    return record
