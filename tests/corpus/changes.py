"""Changes of the bytes of a file, shared by all kinds of damage."""

import struct
from collections.abc import Callable

from cryofs.formats.record import MAGIC, VERSIONS

Change = Callable[[bytes], bytes | None]


FOOTER_BYTES = 48


NUMBERS = (0, 1, 2, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**33 + 7, 2**63 - 1, 2**63, 2**64 - 1)


def patched(data: bytes, place: int, piece: bytes) -> bytes:
    return data[:place] + piece + data[place + len(piece) :]


def set_field(place: int, letter: str, value: int) -> Change:
    bits = 8 * struct.calcsize(letter)
    piece = struct.pack(letter, value if value < 0 else value & ((1 << bits) - 1))
    return lambda data: patched(data, place, piece)


def has_footer(data: bytes) -> bool:
    """Return True if a file still ends with a footer, even a damaged one."""
    if len(data) < FOOTER_BYTES:
        return False
    # a damaged magic is recognised by version and zero after it, and by the location of the record
    magic, version, zero, offset, length = struct.unpack_from("<8sIIQQ", data, len(data) - FOOTER_BYTES)
    return magic == MAGIC or (version in VERSIONS and (zero, offset + length + FOOTER_BYTES) == (0, len(data)))
