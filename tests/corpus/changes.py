"""Changes of the bytes of a file, shared by all kinds of damage."""

import struct
from collections.abc import Callable

Change = Callable[[bytes], bytes | None]


FOOTER_BYTES = 48


NUMBERS = (0, 1, 2, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**33 + 7, 2**63 - 1, 2**63, 2**64 - 1)


def patched(data: bytes, place: int, piece: bytes) -> bytes:
    return data[:place] + piece + data[place + len(piece) :]


def set_field(place: int, letter: str, value: int) -> Change:
    bits = 8 * struct.calcsize(letter)
    piece = struct.pack(letter, value if value < 0 else value & ((1 << bits) - 1))
    return lambda data: patched(data, place, piece)
