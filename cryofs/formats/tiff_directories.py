"""Read the image directories of a TIFF file, each of which stores the offset of the next.

This module does not use tifffile, because a truncated or circular chain must be an error instead of a shorter movie.
All offsets are checked against the size of the file.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.storage.byte_source import ByteSource

MAGICS = (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")

# Number of frames of the fastest camera in an hour; limits the time spent on a damaged file.
MAX_IMAGES = 1 << 20
# Maximum number of rows; no camera has as many.
MAX_VALUES = 1 << 16
_MAX_ENTRIES = 4096
# enough for the directory of a frame; a longer directory needs a second read
_DIRECTORY_BYTES = 512
# Directories that the storage reads at the same time. Each contains the offset of the next, so reading them one by one
# would wait for the storage each time. Frames have similar sizes, so that offsets can be predicted to some kilobytes.
_AHEAD = 16
_PREDICTED_BYTES = 32 << 10
# Number of directories after which the first offset is predicted.
_FIRST_KNOWN = 2
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTE_TYPES = (1, 2, 6, 7)
_RATIONAL = 5


class BrokenError(Exception):
    """A TIFF or EER container is damaged; the message does not contain the file name."""


@dataclass(frozen=True)
class Directory:
    """An image directory: the type, number of values and value field (four or eight bytes) of each tag.

    Attributes
    ----------
    next : int
        Offset of the next directory; 0 for the last directory.
    size : int
        Size of the directory in bytes.
    """

    entries: dict[int, tuple[int, int, bytes]]
    next: int
    size: int


class TiffDirectories:
    """The directories of an open TIFF file.

    Parameters
    ----------
    head : bytes
        First four bytes of the file, one of `MAGICS`.
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
        """Yield all directories in order; raise BrokenError if the chain is damaged."""
        (place,) = self._link.unpack(self._read(self._first_link, self._link.size))
        seen: set[int] = set()
        before: deque[int] = deque(maxlen=_AHEAD)
        taken = 0
        while place:
            if place in seen:
                raise BrokenError(f"circular chain of image directories (byte {place})")
            if len(seen) > MAX_IMAGES:
                raise BrokenError(f"more than {MAX_IMAGES} images")
            seen.add(place)
            directory = self._directory(place)
            # overlapping directories could keep a reader busy for hours
            taken += directory.size
            if taken > self._size:
                raise BrokenError("invalid image directories (larger than the file)")
            yield directory
            before.append(place)
            place = directory.next
            if len(before) >= _FIRST_KNOWN:
                self._announce(place, (place - before[0]) // len(before), is_first=len(before) == _FIRST_KNOWN)

    def _announce(self, place: int, step: int, *, is_first: bool) -> None:
        """Announce the directory that is _AHEAD directories after `place`, and at first those between."""
        for ahead in range(1 if is_first else _AHEAD, _AHEAD + 1):
            offset = place + ahead * step - _PREDICTED_BYTES // 2
            if 0 < offset < self._size:
                self._source.announce(_PREDICTED_BYTES, offset)

    def _directory(self, place: int) -> Directory:
        data = self._source.read(_DIRECTORY_BYTES, place) if place < self._size else b""
        if len(data) < self._count.size:
            raise BrokenError(f"truncated, image directory beyond the end of the file (byte {place} of {self._size})")
        (count,) = self._count.unpack_from(data)
        if count > _MAX_ENTRIES:
            raise BrokenError(f"invalid image directory at byte {place} (at most {_MAX_ENTRIES} entries, got {count})")
        end = self._count.size + count * self._entry.size
        if len(data) < end + self._link.size:
            data = self._read(place, end + self._link.size)
        entries = {
            tag: (kind, number, value)
            for tag, kind, number, value in self._entry.iter_unpack(data[self._count.size : end])
        }
        return Directory(entries, self._link.unpack_from(data, end)[0], end + self._link.size)

    def one(self, directory: Directory, tag: int) -> int:
        """Return the single integer of a tag; raise BrokenError if the tag is missing or invalid."""
        letter, count, value = self._integers(directory, tag)
        if count != 1:
            raise BrokenError(f"invalid tag {tag} of an image (expected 1 value, got {count})")
        number: int = struct.unpack_from(letter, value)[0]
        return number

    def integers(self, directory: Directory, tag: int, most: int = MAX_VALUES) -> NDArray[np.uint64]:
        """Return the integers of a tag (uint64, shape (n,)).

        Raises
        ------
        BrokenError
            The tag is missing or invalid, or has more than `most` values.
        """
        letter, count, value = self._integers(directory, tag, most)
        return np.frombuffer(value, letter, count).astype(np.uint64)

    def _integers(self, directory: Directory, tag: int, most: int = MAX_VALUES) -> tuple[str, int, bytes]:
        """Return the type, the number and the bytes of the integers of a tag."""
        if tag not in directory.entries:
            raise BrokenError(f"missing tag {tag} of an image")
        kind, count, value = directory.entries[tag]
        if kind not in _INTEGER_TYPES:
            raise BrokenError(f"invalid tag {tag} of an image (expected integers, got type {kind})")
        if count > most:
            raise BrokenError(f"invalid tag {tag} of an image (at most {most} values, got {count})")
        letter = self._order + _INTEGER_TYPES[kind]
        need = struct.calcsize(letter) * count
        return letter, count, value if need <= len(value) else self._outside(value, need, tag)

    def text(self, directory: Directory, tag: int, most: int) -> bytes:
        """Return the bytes of a tag; return no bytes if the tag is missing or has more than `most` bytes."""
        kind, count, value = directory.entries[tag]
        if kind not in _BYTE_TYPES or count > most:
            return b""
        return value[:count] if count <= len(value) else self._outside(value, count, tag)

    def rational(self, directory: Directory, tag: int) -> float | None:
        """Return the value of a rational tag, or None if it is missing or invalid."""
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
            raise BrokenError(f"truncated image directory at byte {place} (expected {count} bytes, got {len(data)})")
        return data


def check_strip_count(strips: int, images: int, size: int) -> None:
    """Raise BrokenError if there are more strips than a file of this size can list, to limit the memory for lists."""
    # a list takes at least four bytes for each strip; an image with one strip has no list
    if strips > size // 4 + images:
        raise BrokenError(f"too many strips for the size of the file (at most {size // 4 + images}, got {strips})")


def strips_inside(offsets: NDArray[np.uint64], byte_counts: NDArray[np.uint64], size: int) -> NDArray[np.bool_]:
    """Return a mask (bool, shape (n,)) of the strips within a file of this size, computed without integer overflow."""
    return (byte_counts <= size) & (offsets <= size - np.minimum(byte_counts, size))
