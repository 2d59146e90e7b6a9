"""The directories of a TIFF file, one an image, each with the place of the next one.

They are followed by code of our own, because a chain that is cut or leads in a circle must not pass for a shorter
movie. Nothing is trusted beyond the file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.storage.byte_source import ByteSource

MAGICS = (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")

# An hour of the fastest camera; more are no movie, and only cost time.
MAX_IMAGES = 1 << 20
# More rows than any camera has.
MAX_VALUES = 1 << 16
_MAX_ENTRIES = 4096
# enough for the directory of a frame; longer ones are read again
_DIRECTORY_BYTES = 512
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTE_TYPES = (1, 2, 6, 7)
_RATIONAL = 5


class BrokenError(Exception):
    """What is wrong with a container."""


@dataclass(frozen=True)
class Directory:
    """A directory: of each tag type, number of values, and the eight (or four) bytes of its value field.

    Attributes
    ----------
    next : int
        Place of the next directory, 0 behind the last one.
    size : int
        Bytes of the directory.
    """

    entries: dict[int, tuple[int, int, bytes]]
    next: int
    size: int


class TiffDirectories:
    """The directories of an open TIFF file.

    Parameters
    ----------
    head : bytes
        Its first four bytes, one of `MAGICS`.
    """

    def __init__(self, source: ByteSource, head: bytes):
        self._source = source
        self._size = source.size
        order = "<" if head.startswith(b"II") else ">"
        big = b"+" in head
        self._count = struct.Struct(order + ("Q" if big else "H"))
        self._entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        self._link = struct.Struct(order + ("Q" if big else "I"))
        self._order = order
        self._first_link = 8 if big else 4

    def __iter__(self) -> Iterator[Directory]:
        """All directories, in order; BrokenError where the chain is."""
        (place,) = self._link.unpack(self._read(self._first_link, self._link.size))
        seen: set[int] = set()
        taken = 0
        while place:
            if place in seen:
                raise BrokenError(f"its image directories lead in a circle (byte {place})")
            if len(seen) > MAX_IMAGES:
                raise BrokenError(f"it claims more than {MAX_IMAGES} images, which is absurd")
            seen.add(place)
            directory = self._directory(place)
            # those that overlap would keep a reader busy for hours
            taken += directory.size
            if taken > self._size:
                raise BrokenError("its image directories take more bytes than it has")
            yield directory
            place = directory.next

    def _directory(self, place: int) -> Directory:
        data = self._source.read(_DIRECTORY_BYTES, place) if place < self._size else b""
        if len(data) < self._count.size:
            raise BrokenError(f"an image directory lies beyond its end (byte {place} of {self._size}), it is truncated")
        (count,) = self._count.unpack_from(data)
        if count > _MAX_ENTRIES:
            raise BrokenError(f"an image directory of {count} entries (byte {place}) is absurd")
        end = self._count.size + count * self._entry.size
        if len(data) < end + self._link.size:
            data = self._read(place, end + self._link.size)
        entries = {
            tag: (kind, number, value)
            for tag, kind, number, value in self._entry.iter_unpack(data[self._count.size : end])
        }
        return Directory(entries, self._link.unpack_from(data, end)[0], end + self._link.size)

    def one(self, directory: Directory, tag: int) -> int:
        """The one whole number of a tag."""
        letter, count, value = self._integers(directory, tag)
        if count != 1:
            raise BrokenError(f"tag {tag} of an image has {count} values")
        number: int = struct.unpack_from(letter, value)[0]
        return number

    def integers(self, directory: Directory, tag: int) -> NDArray[np.uint64]:
        """The whole numbers of a tag."""
        letter, count, value = self._integers(directory, tag)
        return np.frombuffer(value, letter, count).astype(np.uint64)

    def _integers(self, directory: Directory, tag: int) -> tuple[str, int, bytes]:
        """Type, number and bytes of the whole numbers of a tag."""
        if tag not in directory.entries:
            raise BrokenError(f"an image lacks the tag {tag}")
        kind, count, value = directory.entries[tag]
        if kind not in _INTEGER_TYPES:
            raise BrokenError(f"tag {tag} of an image is of type {kind}, not whole numbers")
        if count > MAX_VALUES:
            raise BrokenError(f"tag {tag} of an image has {count} values, which is absurd")
        letter = self._order + _INTEGER_TYPES[kind]
        need = struct.calcsize(letter) * count
        return letter, count, value if need <= len(value) else self._outside(value, need, tag)

    def text(self, directory: Directory, tag: int, most: int) -> bytes:
        """The bytes of a tag, none where they are more than `most`."""
        kind, count, value = directory.entries[tag]
        if kind not in _BYTE_TYPES or count > most:
            return b""
        return value[:count] if count <= len(value) else self._outside(value, count, tag)

    def rational(self, directory: Directory, tag: int) -> float | None:
        """The quotient of a tag, None where there is none."""
        kind, count, value = directory.entries.get(tag, (0, 0, b""))
        if kind != _RATIONAL or count != 1:
            return None
        over, under = struct.unpack_from(self._order + "2I", value if len(value) == 8 else self._outside(value, 8, tag))
        return over / under if under else None

    def _outside(self, value: bytes, need: int, tag: int) -> bytes:
        (place,) = self._link.unpack(value)
        if place + need > self._size:
            raise BrokenError(f"tag {tag} of an image points beyond the end of the file")
        return self._read(place, need)

    def _read(self, place: int, count: int) -> bytes:
        data = self._source.read(count, place)
        if len(data) < count:
            raise BrokenError(f"it ends at byte {place + len(data)} within an image directory, it is truncated")
        return data


def check_strip_count(strips: int, images: int, size: int) -> None:
    """Refuse more strips than a file of this size could list: lists that images share would take much memory."""
    # strips of their own are listed by four bytes at least, but for those of images of one strip
    if strips > size // 4 + images:
        raise BrokenError("it claims more strips than it could list")


def strips_inside(offsets: NDArray[np.uint64], byte_counts: NDArray[np.uint64], size: int) -> NDArray[np.bool_]:
    """Which strips lie in a file of this size; their ends may exceed what an integer holds."""
    return (byte_counts <= size) & (offsets <= size - np.minimum(byte_counts, size))
