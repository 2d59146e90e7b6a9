"""Checksums: XXH3 (128 bit) for frames and blobs, which is checked on every read; SHA-256 for whole files."""

import hashlib
import os
from typing import Any

import xxhash
from numpy.typing import NDArray

CHUNK = 4 << 20


def quick_sum(data: bytes | NDArray[Any]) -> str:
    """XXH3-128 of contiguous data, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data if isinstance(data, bytes) else data.data)


def file_sha256(descriptor: int) -> str:
    """SHA-256 of an open file, read from its start, as 64 hexadecimal digits."""
    return file_sums(descriptor, 0, 1, 0)[0]


def file_sums(descriptor: int, start: int, piece_bytes: int, pieces: int) -> tuple[str, list[str]]:
    """SHA-256 of an open file, and the XXH3-128 of equal pieces of it (frames), in one pass.

    Parameters
    ----------
    start : int
        Offset of the first piece.
    piece_bytes, pieces : int
        Size and number of the pieces, which follow one another.
    """
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    offset = 0

    def read_until(end: int | None, piece: xxhash.xxh3_128 | None) -> None:
        nonlocal offset
        while end is None or offset < end:
            size = CHUNK if end is None else min(CHUNK, end - offset)
            count = os.preadv(descriptor, [buffer[:size]], offset)
            if count == 0:
                return
            whole.update(buffer[:count])
            if piece is not None:
                piece.update(buffer[:count])
            offset += count

    read_until(start, None)
    sums = []
    for number in range(pieces):
        piece = xxhash.xxh3_128()
        read_until(start + (number + 1) * piece_bytes, piece)
        sums.append(piece.hexdigest())
    read_until(None, None)
    return whole.hexdigest(), sums
