"""Checksums: XXH3 (128 bit) for frames and blobs, checked on every read; SHA-256 for whole files."""

import hashlib
import os
from collections.abc import Callable
from typing import Any

import xxhash
from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.storage.byte_source import fill

_CHUNK = 4 << 20


def quick_sum(data: bytes | NDArray[Any]) -> str:
    """Return the XXH3-128 of contiguous data, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data if isinstance(data, bytes) else data.data)


class RunningSum:
    """XXH3-128 of data in pieces."""

    def __init__(self) -> None:
        self._sum = xxhash.xxh3_128()

    def add(self, piece: NDArray[Any]) -> None:
        """Add the next piece, which is contiguous."""
        self._sum.update(piece.data)

    def result(self) -> str:
        """Return the checksum of all pieces, in the form of `quick_sum`."""
        return self._sum.hexdigest()


def file_sha256(descriptor: int, end: int | None = None, on_bytes: Callable[[int], object] = lambda _: None) -> str:
    """Return the SHA-256 of an open file, up to its end or to the byte `end`, as 64 hexadecimal digits.

    Parameters
    ----------
    on_bytes : callable
        Called with the size of each piece that was hashed.

    Raises
    ------
    ChangedError
        The file ended before.
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
        raise ChangedError(f"a file of {size} bytes ended at byte {offset} while it was hashed; try again")
    return whole.hexdigest()
