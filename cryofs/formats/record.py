"""The record: what an archived movie remembers of its original, behind the last TIFF page of the same file.

Layout of the end of the file::

    TIFF | blobs | record | footer

The record is deflated JSON. The footer is the last 48 bytes, so that one read at the end of a file finds everything:
magic (8 bytes), version and zero (uint32 each), offset and length of the record (uint64 each), its XXH3-128; all
little-endian. No TIFF tag refers to any of it, so no TIFF reader meets a tag that it does not know.
"""

import os
import struct
import zlib
from typing import Annotated, Literal

import msgspec
from zlib_ng import zlib_ng

from cryofs.codecs.codec import Compression, Predictor
from cryofs.errors import DamagedError
from cryofs.storage.byte_source import read_exactly, read_up_to
from cryofs.storage.checksums import xxh3_checksum

VERSION = 2
MAGIC = b"\x89cryofs\n"
# Stands in the ImageDescription of the first page, near the start of the file: it tells an archived movie whose end is
# missing from a TIFF of somebody else.
MARK = "archived by cryofs; record at the end of this file"

_FOOTER = struct.Struct("<8sIIQQ16s")
HEAD_BYTES = 4096
# The bytes behind the last frame are stored in pieces of so many; none is longer.
TRAILING_PIECE_BYTES = 16 << 20
# Characters of a record for each byte of the file, at most: what it says of a strip or a frame takes a tag or an image
# directory of the TIFF, too.
_MOST_TEXT = 16
# And of any record, as a file may be sparse: those of four million strips.
_MAX_TEXT_BYTES = 256 << 20
# Bytes that deflate adds to a blob that it cannot make shorter, at most: as many again, and some.
_BLOB_OVERHEAD = 1024


# What a file can hold of anything, and permission bits.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]


class Blob(msgspec.Struct, frozen=True):
    """Deflated bytes in the file: where, how many stored, how many original, and the XXH3-128 of the original ones."""

    offset: Count
    stored: Count
    size: Count
    sum: str


class FrameExceptions(msgspec.Struct, frozen=True):
    """How many values of a frame are exceptions, how many of these are near, and where they are stored."""

    count: Count
    blob: Blob
    near: Count = 0


class Frame(msgspec.Struct, frozen=True):
    """A frame: XXH3-128 of its original bytes, its strips in the file and the XXH3-128 of each, its exceptions."""

    sum: str
    offsets: list[Count]
    byte_counts: list[Count]
    strip_sums: list[str]
    exceptions: FrameExceptions | None = None


class Original(msgspec.Struct, frozen=True):
    """The original file; times in nanoseconds, mode as in stat (permission bits).

    Attributes
    ----------
    sha256 : str or None
        None for fractions of EER movies and adopted TIFF movies, as there was no such file; their header and frames
        have sums of their own.
    """

    name: str
    bytes: Count
    sha256: str | None
    mtime_ns: int
    atime_ns: int
    mode: Mode


class Gain(msgspec.Struct, frozen=True):
    """The gain reference that the counts are to be multiplied with, by content; name and arithmetic are hints."""

    sha256: str
    name: str
    arithmetic: str = ""


class Rendered(msgspec.Struct, frozen=True):
    """The EER file that a movie of fractions was rendered from, and how.

    Attributes
    ----------
    frames : int
        Frames as the camera took them.
    damaged_frames : list of int
        Those that were left out.
    """

    name: str
    bytes: Count
    mtime_ns: int
    frames: int
    grouping: int
    upsampling: int
    damaged_frames: list[int]


class Adopted(msgspec.Struct, frozen=True):
    """The TIFF file of another program that got this record: the first bytes of the file, and the SHA-256 of these.

    Attributes
    ----------
    gain : Gain or None
        The gain reference that lay nearest. It is not applied; its loss is noticed.
    """

    name: str
    bytes: Count
    sha256: str
    gain: Gain | None = None


class Record(msgspec.Struct, frozen=True):
    """Everything needed to give back the original file, besides pixels and gain reference.

    Attributes
    ----------
    header : Blob
        All bytes before the first frame.
    trailing : list of Blob
        All bytes behind the last one, in pieces.
    shape : tuple
        Frames, rows, columns.
    mrc_mode : int
        MODE of the original.
    byte_order : str
        ``"<"`` or ``">"``.
    stored_dtype : str
        Type of the TIFF pixels.
    gain : Gain or None
        None: the pixels are the values themselves.
    coder : str
        Which of the candidates encoded the strips; reading does not depend on it.
    rendered : Rendered or None
        Where the original is no file, but made from an EER file.
    adopted : Adopted or None
        Where the original is no file, but made from the TIFF of another program that this file begins with.
    """

    original: Original
    header: Blob
    trailing: list[Blob]
    shape: tuple[Count, Count, Count]
    mrc_mode: int
    byte_order: Literal["<", ">"]
    stored_dtype: Literal["uint8", "int8", "uint16", "int16", "float32"]
    compression: Compression
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
        """Size of the file that was archived: the original, the EER file that it was rendered from, or the TIFF."""
        source = self.rendered or self.adopted or self.original
        return source.bytes

    @property
    def needed_gain(self) -> Gain | None:
        """The gain reference without which the movie cannot be used."""
        return self.adopted.gain if self.adopted else self.gain


def deflate_blob(data: bytes) -> tuple[Blob, bytes]:
    """Deflate `data`; the blob's offset is still to be set."""
    stored = bytes(zlib_ng.compress(data))
    return Blob(0, len(stored), len(data), xxh3_checksum(data)), stored


def deflated_size(data: bytes) -> int:
    """Stored size of a blob."""
    return len(zlib_ng.compress(data))


def inflate(stored: bytes) -> bytes:
    """Bytes of a blob that is in memory."""
    return bytes(zlib_ng.decompress(stored))


def read_blob(descriptor: int, blob: Blob, name: str) -> bytes:
    """Bytes of a blob.

    Raises
    ------
    DamagedError
        They are not those that were stored.
    """
    if blob.offset + blob.stored > os.fstat(descriptor).st_size:
        raise DamagedError(f"{name}: a part of its record lies beyond its end; restore it from a backup")
    if blob.stored > 2 * blob.size + _BLOB_OVERHEAD:
        raise DamagedError(f"{name}: a part of its record is longer than it can be; restore it from a backup")
    try:
        # max_length bounds what a damaged stream may allocate
        stored = read_exactly(descriptor, blob.stored, blob.offset, f"{name}, a part of its record")
        data = zlib.decompressobj().decompress(stored, blob.size + 1)
    except zlib.error as error:
        raise DamagedError(f"{name}: a part of its record is damaged ({error}); restore it from a backup") from error
    if len(data) != blob.size or xxh3_checksum(data) != blob.sum:
        raise DamagedError(f"{name}: a part of its record is damaged; restore it from a backup")
    return data


def encode_record(record: Record, offset: int) -> bytes:
    """Record and footer, to be stored at `offset`, the end of the file."""
    body = zlib.compress(msgspec.json.encode(record))
    digest = bytes.fromhex(xxh3_checksum(body))
    return body + _FOOTER.pack(MAGIC, VERSION, 0, offset, len(body), digest)


def is_archived(descriptor: int, size: int, name: str) -> bool:
    """Whether cryofs wrote this file, be it whole or damaged since.

    Raises
    ------
    DamagedError
        It ends before its size: then nobody can tell.
    """
    if size >= _FOOTER.size:
        footer = read_exactly(descriptor, _FOOTER.size, size - _FOOTER.size, name)
        magic, version, zero, offset, length, _ = _FOOTER.unpack(footer)
        # an adopted TIFF has no mark at its start; a damaged magic is told by what follows it
        if magic == MAGIC or (version, zero, offset + length + _FOOTER.size) == (VERSION, 0, size):
            return True
    return MARK.encode() in read_exactly(descriptor, min(size, HEAD_BYTES), 0, name)


def read_record(descriptor: int, size: int, name: str) -> Record:
    """Read and check the record of an archived movie.

    Raises
    ------
    DamagedError
        The file is cut short or changed, or a newer cryofs wrote it.
    """
    footer = read_up_to(descriptor, _FOOTER.size, max(size - _FOOTER.size, 0))
    if len(footer) < _FOOTER.size or not footer.startswith(MAGIC):
        raise DamagedError(
            f"{name}: its end is missing, the file is truncated or overwritten; restore it from a backup"
        )
    _, version, zero, offset, length, digest = _FOOTER.unpack(footer)
    if version != VERSION:
        remedy = "a newer" if version > VERSION else "an older"
        raise DamagedError(
            f"{name}: its record has version {version}, this cryofs reads {VERSION}; use {remedy} cryofs"
        )
    if zero or length > min(size, _MAX_TEXT_BYTES) or offset + length + _FOOTER.size != size:
        raise DamagedError(f"{name}: its footer is damaged; restore it from a backup")
    body = read_exactly(descriptor, length, offset, f"{name}, its record")
    if xxh3_checksum(body) != digest.hex():
        raise DamagedError(f"{name}: its record is damaged; restore it from a backup")
    try:
        text = zlib.decompressobj().decompress(body, min(_MOST_TEXT * size, _MAX_TEXT_BYTES))
        return msgspec.json.decode(text, type=Record)
    except (zlib.error, msgspec.MsgspecError, RecursionError) as error:
        raise DamagedError(
            f"{name}: its record is not readable ({str(error)[:200]}); restore it from a backup"
        ) from error
