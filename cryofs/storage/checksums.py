"""Checksums: XXH3 (128 bit) for frames and blobs, which is checked on every read; SHA-256 for whole files."""

import hashlib
import os
from collections.abc import Callable
from typing import Any

import xxhash
from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.storage.byte_source import fill

_CHUNK = 4 << 20


def xxh3_checksum(data: bytes | NDArray[Any]) -> str:
    """XXH3-128 of contiguous data, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data if isinstance(data, bytes) else data.data)


class RunningChecksum:
    """XXH3-128 of data that come in pieces."""

    def __init__(self) -> None:
        self._sum = xxhash.xxh3_128()

    def add(self, piece: NDArray[Any]) -> None:
        """Take in the next piece, contiguous."""
        self._sum.update(piece.data)

    def result(self) -> str:
        """Sum of all pieces, as `xxh3_checksum` has it."""
        return self._sum.hexdigest()


def file_sha256(descriptor: int, end: int | None = None, on_bytes: Callable[[int], object] = lambda _: None) -> str:
    """SHA-256 of an open file, from its start to its end or the byte `end`, as 64 hexadecimal digits.

    Parameters
    ----------
    on_bytes : callable
        Called with the size of each piece that was hashed.

    Raises
    ------
    ChangedError
        It ended before, so this would not be its sum.
    """
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(min(_CHUNK, os.fstat(descriptor).st_size + 1)))
    offset = 0
    while count := fill(descriptor, buffer if end is None else buffer[: end - offset], offset):
        whole.update(buffer[:count])
        offset += count
        on_bytes(count)
    size = os.fstat(descriptor).st_size if end is None else end
    if offset < size:
        raise ChangedError(f"a file of {size} bytes ended at byte {offset} while its sum was taken; try again")
    return whole.hexdigest()
