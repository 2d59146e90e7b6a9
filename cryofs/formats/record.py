"""The record of an archived movie: metadata of the original file, stored after the last TIFF page.

Layout of the end of the file::

    TIFF | blobs | record | footer

The record is deflated JSON. The footer is the last 48 bytes, so that one read at the end of a file locates everything:
magic (8 bytes), version and zero (uint32 each), offset and length of the record (uint64 each), XXH3-128 of the record;
all little-endian. No TIFF tag refers to the record, so TIFF readers encounter no unknown tags.
"""

import struct
import zlib
from typing import Literal

import msgspec

from cryofs.codecs.predictor import Predictor
from cryofs.codecs.registry import compressions
from cryofs.errors import DamagedError
from cryofs.formats.blob import Blob, Count
from cryofs.formats.changed_attributes import ChangedAttributes, Mode, changed_attributes
from cryofs.formats.record_packed import Packed as Packed
from cryofs.storage.byte_source import ByteSource
from cryofs.storage.checksums import xxh3_checksum

# Version that is written. Versions differ in at least two bits, so that a flipped bit never changes one into another;
# therefore there is no version 3.
VERSION = 4
MAGIC = b"\x89cryofs\n"
# Part of the first ImageDescription. It distinguishes an archived movie whose end is missing from other TIFF files.
MARK = "archived by cryofs; record at the end of this file"

_FOOTER = struct.Struct("<8sIIQQ16s")
HEAD_BYTES = 4096
# Size of the first read, which contains the footer and the record of a movie of up to sixty frames.
_TAIL_BYTES = 32 << 10
# Maximum size of the pieces in which the bytes after the last frame are stored.
TRAILING_PIECE_BYTES = 16 << 20
# Maximum number of characters of a record per byte of the file. Each strip and frame in a record also takes bytes in
# the TIFF directories.
_MOST_TEXT = 16
# Maximum size of any record, enough for four million strips; a separate limit because a file may be sparse.
_MAX_TEXT_BYTES = 256 << 20


Rounding = Literal["even", "up", "down"]


class FrameExceptions(msgspec.Struct, frozen=True):
    """Exceptions of a frame: number of all, number of near ones, and the blob that contains them."""

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
    """A frame in a record of version 1, which has no checksum for each strip.

    Attributes
    ----------
    stored_sum : str or None
        XXH3-128 of the concatenated strips of the frame; None in the oldest records, which have no checksum of stored
        bytes.
    """

    strip_sums: list[str] = []
    stored_sum: str | None = None


class Original(msgspec.Struct, frozen=True):
    """The original file, with times in nanoseconds and permission bits as in stat.

    Attributes
    ----------
    sha256 : str or None
        SHA-256 of the whole file; None for EER fractions and adopted TIFF movies, for which no MRC file existed. Their
        header and frames have checksums.
    """

    name: str
    bytes: Count
    sha256: str | None
    mtime_ns: int
    atime_ns: int
    mode: Mode

    @property
    def attributes(self) -> ChangedAttributes:
        """Mode and times."""
        return ChangedAttributes(self.mode, self.mtime_ns, self.atime_ns)


class Gain(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gain reference of the counts, identified by SHA-256; name and arithmetic are hints.

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
    """The EER file from which a movie of fractions was rendered, and the options of the rendering.

    Attributes
    ----------
    frames : int
        Number of camera frames.
    damaged_frames : list of int
        Numbers of the camera frames that were skipped as damaged.
    spread : bool
        Whether frames that do not fill a fraction were spread over the last fractions.
    crop : int or None
        Upsampling after cropping in Fourier space; None without cropping.
    scale : float or None
        Factor from electrons to pixel values; None for 1.
    gain : str or None
        XXH3-128 of the gain factors by which pixels were multiplied; None if no gain was applied.
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
    """The adopted TIFF file of another program: size and SHA-256 of the bytes before the record.

    Attributes
    ----------
    gain : Gain or None
        The nearest gain reference in the movie's folder or above. Readers do not apply it, but report it if missing.
    """

    name: str
    bytes: Count
    sha256: str
    gain: Gain | None = None


class Record(msgspec.Struct, frozen=True):
    """All data needed to restore the original file, except pixels and gain reference.

    Attributes
    ----------
    header : Blob
        All bytes before the first frame.
    trailing : list of Blob
        All bytes after the last frame, in pieces.
    shape : tuple
        Number of frames, rows and columns.
    mrc_mode : int
        MRC mode of the original.
    byte_order : str
        ``"<"`` or ``">"``.
    stored_dtype : str
        Type of the TIFF pixels.
    gain : Gain or None
        Gain reference of the counts; None if the pixels are the values themselves.
    coder : str
        Name of the encoder of the strips, for information only.
    rendered : Rendered or None
        The EER file and the options if the movie was rendered from an EER file, otherwise None.
    adopted : Adopted or None
        The TIFF file if this record was appended to a TIFF movie of another program, otherwise None.
    packed : Packed or None
        The packed file if compress unpacked the original from one, otherwise None.
    ingested : bool
        True if the original was a file of the archive itself, so that no source may exist elsewhere.
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
    packed: Packed | None = None
    ingested: bool = False

    @property
    def source_state(self) -> tuple[int, int]:
        """Size and mtime_ns of the file that compress read."""
        return (self.packed or self.rendered or self.original).bytes, (self.rendered or self.original).mtime_ns

    @property
    def source_bytes(self) -> int:
        """Size in bytes of the source: the original MRC file, the rendered EER file or the adopted TIFF file."""
        return (self.rendered or self.adopted or self.original).bytes

    @property
    def needed_gain(self) -> Gain | None:
        """Gain reference that the movie needs, or None."""
        return self.adopted.gain if self.adopted else self.gain


class RecordVersion1(Record, frozen=True):
    """A record of version 1, with frames of version 1."""

    frames: list[FrameVersion1]  # type: ignore[assignment]


_RECORD_TYPES: dict[int, type[Record]] = {1: RecordVersion1, 2: Record, VERSION: Record}
# All versions that are read.
VERSIONS = tuple(_RECORD_TYPES)


def encode_record(record: Record, offset: int) -> bytes:
    """Return the bytes of a record and its footer; the caller writes them at `offset`, the end of the file."""
    body = zlib.compress(msgspec.json.encode(record))
    digest = bytes.fromhex(xxh3_checksum(body))
    version = 1 if isinstance(record, RecordVersion1) else VERSION
    return body + _FOOTER.pack(MAGIC, version, 0, offset, len(body), digest)


def is_archived(source: ByteSource) -> bool:
    """Return True if cryofs wrote this file, even if the file was damaged later.

    Raises
    ------
    DamagedError
        The file is shorter than the size that the system reports, so the footer cannot be read.
    """
    size, name = source.size, source.name
    if size >= _FOOTER.size:
        footer = source.read_exactly(_FOOTER.size, size - _FOOTER.size, name)
        magic, version, zero, offset, length, _ = _FOOTER.unpack(footer)
        # an adopted TIFF file has no signature at its start; if the magic is damaged, other fields identify the footer
        if magic == MAGIC or (version in _RECORD_TYPES and (zero, offset + length + _FOOTER.size) == (0, size)):
            return True
    return MARK.encode() in source.read_exactly(min(size, HEAD_BYTES), 0, name)


def read_record(source: ByteSource) -> Record:
    """Read, check and return the record of an archived movie, with the attributes that were changed since.

    Raises
    ------
    DamagedError
        The record is missing or damaged, or a newer version of cryofs wrote the file.
    """
    record = stored_record(source)
    # those of an adopted movie are those of the TIFF file
    changed = changed_attributes(source) if record.adopted is None else None
    return record if changed is None else with_attributes(record, changed)


def with_attributes(record: Record, changed: ChangedAttributes) -> Record:
    """Return a record with other attributes of the original."""
    original = msgspec.structs.replace(record.original, **msgspec.structs.asdict(changed))
    return msgspec.structs.replace(record, original=original)


def record_offset(source: ByteSource) -> int:
    """Return the offset of the record of an archived movie, which `read_record` has checked."""
    footer = source.read_exactly(_FOOTER.size, source.size - _FOOTER.size, source.name)
    offset: int = _FOOTER.unpack(footer)[3]
    return offset


def stored_record(source: ByteSource) -> Record:
    """Return the record as it was written; errors as of `read_record`."""
    size, name = source.size, source.name
    tail = source.read(min(size, _TAIL_BYTES), max(size - _TAIL_BYTES, 0))
    footer = tail[-_FOOTER.size :]
    if len(tail) < min(size, _TAIL_BYTES) or len(footer) < _FOOTER.size or not footer.startswith(MAGIC):
        raise DamagedError(
            f"{name}: no record at the end of the file (truncated file?); restore the file from a backup"
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
        raise DamagedError(f"{name}: invalid record ({str(error)[:200]}); restore the file from a backup") from error
    if record.compression not in compressions():
        raise DamagedError(
            f"{name}: unsupported compression in the record (expected {', '.join(compressions())}, "
            f"got {record.compression[:20]!r}); use a newer cryofs"
        )
    return record
