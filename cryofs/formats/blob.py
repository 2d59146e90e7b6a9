"""Blobs of archived movies: deflated bytes after the last TIFF page, with a checksum in the record."""

import zlib
from typing import Annotated

import msgspec
from zlib_ng import zlib_ng

from cryofs.errors import DamagedError
from cryofs.storage.byte_source import ByteSource, missing_bytes
from cryofs.storage.checksums import xxh3_checksum

# A stored blob takes at most twice its original size plus this number of bytes.
_BLOB_OVERHEAD = 1024

# Valid range of sizes.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Blob(msgspec.Struct, frozen=True):
    """Deflated bytes in the file: offset, stored size, original size, and XXH3-128 of the original bytes."""

    offset: Count
    stored: Count
    size: Count
    sum: str


def deflate_blob(data: bytes) -> tuple[Blob, bytes]:
    """Return a blob for `data` and the deflated bytes; the caller sets the offset of the blob."""
    stored = bytes(zlib_ng.compress(data))
    return Blob(0, len(stored), len(data), xxh3_checksum(data)), stored


def deflated_size(data: bytes) -> int:
    """Return the stored size of a blob of `data` in bytes."""
    return len(zlib_ng.compress(data))


def inflate(stored: bytes) -> bytes:
    """Return the original bytes of a stored blob."""
    return bytes(zlib_ng.decompress(stored))


def read_blob(source: ByteSource, blob: Blob) -> bytes:
    """Return the original bytes of a blob in a file.

    Raises
    ------
    DamagedError
        The blob is outside the file, is invalid, or does not match its checksum.
    """
    name = source.name
    if blob.offset + blob.stored > source.size:
        raise DamagedError(f"{name}: blob of the record beyond the end of the file; restore the file from a backup")
    if blob.stored > 2 * blob.size + _BLOB_OVERHEAD:
        raise DamagedError(
            f"{name}: invalid size of a blob of the record (expected at most {2 * blob.size + _BLOB_OVERHEAD} bytes, "
            f"got {blob.stored}); restore the file from a backup"
        )
    try:
        stored = source.read(blob.stored, blob.offset)
        if len(stored) < blob.stored:
            raise missing_bytes(f"{name}, blob of the record", blob.stored, blob.offset, len(stored))
        # max_length limits the memory that a damaged stream can allocate
        data = zlib.decompressobj().decompress(stored, blob.size + 1)
    except zlib.error as error:
        raise DamagedError(f"{name}: damaged blob of the record ({error}); restore the file from a backup") from error
    if len(data) != blob.size or xxh3_checksum(data) != blob.sum:
        raise DamagedError(f"{name}: checksum mismatch in a blob of the record; restore the file from a backup")
    return data
