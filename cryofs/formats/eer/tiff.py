"""The TIFF container of EER files: an image directory a frame, each with the place of the next one.

Compressions 65000, 65001 and 65002 hold electron events; images of any other, such as a summed one, are passed over.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from cryofs.formats.eer.index import CODE_7BIT, CODE_8BIT, MAX_FRAMES, MAX_SIDE, BrokenError, EerIndex, EventCode
from cryofs.formats.reading import read_up_to

MAGICS = (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")

_MAX_DIRECTORY_ENTRIES = 4096
_MAX_METADATA_BYTES = 16 << 20
# enough for the directory of a frame; longer ones are read again
_DIRECTORY_BYTES = 512

_WIDTH, _HEIGHT, _COMPRESSION, _OFFSETS, _BYTE_COUNTS = 256, 257, 259, 273, 279
_ACQUISITION_METADATA, _FINAL_METADATA = 65001, 65006
_RUN_BITS, _X_BITS, _Y_BITS = 65007, 65008, 65009
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTE_TYPES = (1, 2, 6, 7)

_CODES = {65000: CODE_8BIT, 65001: CODE_7BIT}
_CODE_IN_TAGS = 65002


@dataclass(frozen=True)
class _Directory:
    """An image directory: of each tag type, number of values, and the eight (or four) bytes of its value field."""

    entries: dict[int, tuple[int, int, bytes]]
    next: int


class TiffContainer:
    """The TIFF container: image directories are read one by one, each tells where the next one is."""

    def __init__(self, descriptor: int, size: int, head: bytes):
        self._descriptor = descriptor
        self._size = size
        order = "<" if head.startswith(b"II") else ">"
        big = b"+" in head
        self._count = struct.Struct(order + ("Q" if big else "H"))
        self._entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        self._link = struct.Struct(order + ("Q" if big else "I"))
        self._order = order
        self._first_link = 8 if big else 4

    def index(self) -> EerIndex:
        """Index of the frames; images of other compressions are passed over."""
        geometry: tuple[int, int, EventCode] | None = None
        offsets: list[int] = []
        byte_counts: list[int] = []
        first_strips = [0]
        metadata: dict[str, str] = {}
        wanted = {_ACQUISITION_METADATA, _FINAL_METADATA}
        for number, directory in enumerate(self._directories()):
            for tag in wanted & directory.entries.keys():
                metadata |= _items(self._bytes(directory, tag))
                wanted.remove(tag)
            code = self._code(directory)
            if code is None:
                continue
            found = (self._one(directory, _HEIGHT), self._one(directory, _WIDTH), code)
            if geometry is not None and found != geometry:
                raise BrokenError(f"image {number} differs from those before in size or coding")
            geometry = found
            places, counts = self._integers(directory, _OFFSETS), self._integers(directory, _BYTE_COUNTS)
            if len(places) != len(counts):
                raise BrokenError(f"image {number} has {len(places)} strips of {len(counts)} sizes")
            offsets += places
            byte_counts += counts
            # strips of their own are listed by four bytes at least, but for those of frames of one strip
            if len(offsets) > self._size // 4 + number + 1:
                raise BrokenError("it claims more strips than it could list")
            first_strips.append(len(offsets))
        if geometry is None:
            raise BrokenError("a TIFF file without images of electron events, so no EER")
        return _make_index(geometry, offsets, byte_counts, first_strips, metadata, self._size)

    def _directories(self) -> Iterator[_Directory]:
        (place,) = self._link.unpack(self._read(self._first_link, self._link.size))
        seen: set[int] = set()
        while place:
            if place in seen:
                raise BrokenError(f"its image directories lead in a circle (byte {place})")
            if len(seen) > MAX_FRAMES:
                raise BrokenError(f"it claims more than {MAX_FRAMES} images, which is absurd")
            seen.add(place)
            directory = self._directory(place)
            yield directory
            place = directory.next

    def _directory(self, place: int) -> _Directory:
        data = read_up_to(self._descriptor, _DIRECTORY_BYTES, place) if place < self._size else b""
        if len(data) < self._count.size:
            raise BrokenError(f"an image directory lies beyond its end (byte {place} of {self._size}), it is truncated")
        (count,) = self._count.unpack_from(data)
        if count > _MAX_DIRECTORY_ENTRIES:
            raise BrokenError(f"an image directory of {count} entries (byte {place}) is absurd")
        end = self._count.size + count * self._entry.size
        if len(data) < end + self._link.size:
            data = self._read(place, end + self._link.size)
        entries = {
            tag: (kind, number, value)
            for tag, kind, number, value in self._entry.iter_unpack(data[self._count.size : end])
        }
        return _Directory(entries, self._link.unpack_from(data, end)[0])

    def _code(self, directory: _Directory) -> EventCode | None:
        """How events are laid out in an image, None where it holds none."""
        compression = self._one(directory, _COMPRESSION) if _COMPRESSION in directory.entries else 1
        if compression != _CODE_IN_TAGS:
            return _CODES.get(compression)
        run_bits, x_bits = self._one(directory, _RUN_BITS), self._one(directory, _X_BITS)
        # files of the first cameras lack the tag
        y_bits = self._one(directory, _Y_BITS) if _Y_BITS in directory.entries else x_bits
        return EventCode(run_bits, x_bits, y_bits, run_bits)

    def _one(self, directory: _Directory, tag: int) -> int:
        values = self._integers(directory, tag)
        if len(values) != 1:
            raise BrokenError(f"tag {tag} of an image has {len(values)} values")
        return values[0]

    def _integers(self, directory: _Directory, tag: int) -> list[int]:
        if tag not in directory.entries:
            raise BrokenError(f"an image lacks the tag {tag}")
        kind, count, value = directory.entries[tag]
        if kind not in _INTEGER_TYPES:
            raise BrokenError(f"tag {tag} of an image is of type {kind}, not whole numbers")
        if count > MAX_SIDE:
            raise BrokenError(f"tag {tag} of an image has {count} values, which is absurd")
        letter = _INTEGER_TYPES[kind]
        need = struct.calcsize(self._order + letter) * count
        if need > len(value):
            value = self._outside(value, need, tag)
        return list(struct.unpack_from(f"{self._order}{count}{letter}", value))

    def _bytes(self, directory: _Directory, tag: int) -> bytes:
        kind, count, value = directory.entries[tag]
        if kind not in _BYTE_TYPES or count > _MAX_METADATA_BYTES:
            return b""
        return value[:count] if count <= len(value) else self._outside(value, count, tag)

    def _outside(self, value: bytes, need: int, tag: int) -> bytes:
        (place,) = self._link.unpack(value)
        if place + need > self._size:
            raise BrokenError(f"tag {tag} of an image points beyond the end of the file")
        return self._read(place, need)

    def _read(self, place: int, count: int) -> bytes:
        data = read_up_to(self._descriptor, count, place)
        if len(data) < count:
            raise BrokenError(f"it ends at byte {place + len(data)} within an image directory, it is truncated")
        return data


def _make_index(
    geometry: tuple[int, int, EventCode],
    offsets: list[int],
    byte_counts: list[int],
    first_strips: list[int],
    metadata: dict[str, str],
    size: int,
) -> EerIndex:
    ny, nx, code = geometry
    inside = np.array([place + count <= size for place, count in zip(offsets, byte_counts, strict=True)], bool)
    bounds = np.array(first_strips, np.int64)
    outside_before = np.concatenate([[0], np.cumsum(~inside)])
    intact = outside_before[bounds[1:]] == outside_before[bounds[:-1]]
    # claims of strips outside the file may exceed what an int64 holds; they are never read
    places = np.array([place if good else 0 for place, good in zip(offsets, inside, strict=True)], np.int64)
    counts = np.array([count if good else 0 for count, good in zip(byte_counts, inside, strict=True)], np.int64)
    if sum(counts.tolist()) > size:
        raise BrokenError("its strips take more bytes than it has")
    return EerIndex(ny, nx, code, places, counts, bounds, intact, metadata)


def _items(xml: bytes) -> dict[str, str]:
    """Items of metadata; empty where they are not readable, because pixels do not depend on them."""
    try:
        root = defusedxml.ElementTree.fromstring(xml.strip(b"\0 \r\n"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {}
    return {item.get("name", ""): (item.text or "").strip() for item in root.iter("item") if item.get("name")}
