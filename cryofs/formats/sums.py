"""Checksums: XXH3 (128 bit) for frames and blobs, which is checked on every read; SHA-256 for whole files."""

import hashlib
import os

import xxhash
from numpy.typing import NDArray

CHUNK = 4 << 20


def quick_sum(data: bytes | memoryview | NDArray[object]) -> str:
    """XXH3-128 of contiguous data, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def file_sha256(descriptor: int) -> str:
    """SHA-256 of an open file, read from its start, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        digest.update(memoryview(buffer)[:count])
        offset += count
    return digest.hexdigest()
