"""Checksums: XXH3-128 of frames, strips and blobs, verified on every read, and SHA-256 of whole files."""

import hashlib
from collections.abc import Callable
from typing import Any

import xxhash
from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.storage.byte_source import ByteSource

_CHUNK = 4 << 20


def xxh3_checksum(data: bytes | NDArray[Any]) -> str:
    """Return the XXH3-128 of contiguous data as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data if isinstance(data, bytes) else data.data)


class RunningChecksum:
    """XXH3-128 of data that arrive in pieces."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def add(self, piece: NDArray[Any]) -> None:
        """Add the next piece, which must be contiguous."""
        self._hash.update(piece.data)

    def result(self) -> str:
        """Return the checksum of all pieces, which equals the `xxh3_checksum` of the concatenated data."""
        return self._hash.hexdigest()


def file_sha256(source: ByteSource, on_bytes: Callable[[int], object] = lambda _: None) -> str:
    """Return the SHA-256 of all bytes of a source as 64 hexadecimal digits.

    Parameters
    ----------
    on_bytes : callable
        Called with the size of each piece in bytes after hashing it.

    Raises
    ------
    ChangedError
        The file was truncated after it was opened.
    """
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(min(_CHUNK, source.size + 1)))
    offset = 0
    while count := source.read_into(buffer[: source.size - offset], offset):
        whole.update(buffer[:count])
        offset += count
        on_bytes(count)
    if offset < source.size:
        text = f"{source.name}: truncated while it was read (expected {source.size} bytes, got {offset})"
        raise ChangedError(f"{text}; retry once the file is complete")
    return whole.hexdigest()
