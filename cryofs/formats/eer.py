"""EER files: where the event stream of each frame lies, how its bits are laid out, what the metadata say.

Two containers: BigTIFF (or classic TIFF) with an image directory a frame, and the older one without TIFF, in which each
frame is followed by its size and a footer. Nothing here decodes events; `cryofs.detector.events` does.

Format rules: the EER specification and readers of Thermo Fisher Scientific (github.com/fei-company/EerReaderLib), and
RELION where readers differ (a run of all ones in 8-bit files is followed by sub-pixel bits that mean nothing).
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException
from numpy.typing import NDArray

from cryofs.errors import ChangedError, FormatError

# Detectors have 4096 pixels a side; far larger claims come from damaged files.
MAX_SIDE = 8192
# More than any writer pads a frame with.
_PADDING_BYTES = 4096
_MAX_DIRECTORY_ENTRIES = 4096
_MAX_METADATA_BYTES = 16 << 20

_WIDTH, _HEIGHT, _COMPRESSION, _OFFSETS, _BYTE_COUNTS = 256, 257, 259, 273, 279
_ACQUISITION_METADATA, _FINAL_METADATA = 65001, 65006
_RUN_BITS, _X_BITS, _Y_BITS = 65007, 65008, 65009
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTE_TYPES = (1, 2, 6, 7)

_FOOTER_BYTES = 24
_FOOTER_OK = b"ThermoFisherECComprOK000"
_FOOTER_ERROR = b"ThermoFisherECComprERR00"


@dataclass(frozen=True)
class EventCode:
    """Layout of an event: run length, then sub-pixel x, then sub-pixel y, least significant bit first.

    Attributes
    ----------
    long_bits : int
        Bits that a run length of all ones takes, which advances and places no event.
    """

    run_bits: int
    x_bits: int
    y_bits: int
    long_bits: int

    @property
    def bits(self) -> int:
        """Bits of an event."""
        return self.run_bits + self.x_bits + self.y_bits


CODE_8BIT = EventCode(8, 2, 2, 12)
CODE_7BIT = EventCode(7, 2, 2, 7)
_CODES = {65000: CODE_8BIT, 65001: CODE_7BIT}
_CODE_IN_TAGS = 65002


@dataclass(frozen=True)
class EerIndex:
    """Where the frames of an EER file lie.

    Attributes
    ----------
    ny, nx : int
        Pixels of the detector.
    code : EventCode
        How an event is laid out.
    offsets, byte_counts : ndarray of int64
        Strips of all frames, in order.
    first_strips : ndarray of int64, shape (frames + 1,)
        Number of the first strip of each frame; the strips of a frame are one stream.
    intact : ndarray of bool, shape (frames,)
        False where a frame cannot be whole: strips beyond the end of the file, too few or too many bytes for an image
        of this size, or marked as bad by the camera.
    metadata : dict
        What the acquisition program noted, by name; values as they are written.
    """

    ny: int
    nx: int
    code: EventCode
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    first_strips: NDArray[np.int64]
    intact: NDArray[np.bool_]
    metadata: dict[str, str]

    @property
    def frames(self) -> int:
        """Frames as the camera took them."""
        return len(self.intact)


@dataclass(frozen=True)
class EventStreams:
    """Event streams of some frames.

    Attributes
    ----------
    words : ndarray of uint64
        The streams, least significant bit first, and two words behind them.
    starts, ends : ndarray of int64
        First bit of each stream, and the first one behind it.
    """

    words: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True)
class _Directory:
    """An image directory: of each tag type, number of values, and the eight (or four) bytes of its value field."""

    entries: dict[int, tuple[int, int, bytes]]
    next: int


def read_index(descriptor: int, size: int, name: str) -> EerIndex:
    """Index the frames of an EER file.

    Parameters
    ----------
    descriptor : int
        Open file.
    size : int
        Its size in bytes.
    name : str
        How error messages call it.

    Raises
    ------
    FormatError
        No EER file, or its directories are damaged. Damaged frames raise nothing.
    """
    head = os.pread(descriptor, 4, 0)
    try:
        if head in (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"):
            index = _TiffContainer(descriptor, size, head).index()
        else:
            index = _footer_index(descriptor, size)
        return _checked(index)
    except _BrokenError as error:
        raise FormatError(f"{name}: {error}; copy the file again") from error


def read_streams(descriptor: int, index: EerIndex, frames: Sequence[int], name: str) -> EventStreams:
    """Read the event streams of some frames, which must be intact.

    Raises
    ------
    ChangedError
        The file became shorter since it was indexed.
    """
    first, behind = index.first_strips[frames], index.first_strips[np.add(frames, 1)]
    ends_of_strips = np.concatenate([[0], np.cumsum(index.byte_counts)])
    sizes = ends_of_strips[behind] - ends_of_strips[first]
    starts = np.concatenate([[0], np.cumsum((sizes + 7) // 8)])
    words = np.empty(starts[-1] + 2, np.uint64)
    words[-2:] = 0
    target = words.data.cast("B")
    for frame, start in zip(frames, starts[:-1].tolist(), strict=True):
        place = 8 * start
        for strip in range(int(index.first_strips[frame]), int(index.first_strips[frame + 1])):
            count = int(index.byte_counts[strip])
            _read_into(descriptor, target[place : place + count], int(index.offsets[strip]), f"{name}, frame {frame}")
            place += count
    bits = 64 * starts[:-1].astype(np.int64)
    return EventStreams(words, bits, bits + 8 * sizes)


def _read_into(descriptor: int, target: memoryview, offset: int, what: str) -> None:
    while target:
        count = os.preadv(descriptor, [target], offset)
        if count == 0:
            raise ChangedError(f"{what}: the file was cut short while it was open; open it again")
        target, offset = target[count:], offset + count


def _checked(index: EerIndex) -> EerIndex:
    """Index whose claims the file can bear out, so that nothing large is allocated for a damaged one."""
    code, total = index.code, index.ny * index.nx
    if not (0 < index.nx <= MAX_SIDE and 0 < index.ny <= MAX_SIDE):
        raise _BrokenError(f"frames of {index.ny} x {index.nx} are absurd")
    if not (1 <= code.run_bits <= 16 and 0 <= code.x_bits <= 8 and 0 <= code.y_bits <= 8):
        raise _BrokenError(f"events of {code.run_bits} + {code.x_bits} + {code.y_bits} bits are not supported")
    ends = np.concatenate([[0], np.cumsum(index.byte_counts)])[index.first_strips]
    bits = 8 * np.diff(ends)
    fewest = total // ((1 << code.run_bits) - 1) * min(code.long_bits, code.bits)
    most = (total + 1) * max(code.long_bits, code.bits) + 8 * _PADDING_BYTES
    intact = index.intact & (fewest <= bits) & (bits <= most)
    if not intact.any():
        raise _BrokenError(f"none of its {index.frames} frames can be an image of {index.ny} x {index.nx}")
    return replace(index, intact=intact)


class _BrokenError(Exception):
    """What is wrong with a container."""


class _TiffContainer:
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
                raise _BrokenError(f"image {number} differs from those before in size or coding")
            geometry = found
            places, counts = self._integers(directory, _OFFSETS), self._integers(directory, _BYTE_COUNTS)
            if len(places) != len(counts):
                raise _BrokenError(f"image {number} has {len(places)} strips of {len(counts)} sizes")
            offsets += places
            byte_counts += counts
            first_strips.append(len(offsets))
        if geometry is None:
            raise _BrokenError("a TIFF file without images of electron events, so no EER")
        return _make_index(geometry, offsets, byte_counts, first_strips, metadata, self._size)

    def _directories(self) -> Iterator[_Directory]:
        (place,) = self._link.unpack(self._read(self._first_link, self._link.size))
        seen = set()
        while place:
            if place in seen:
                raise _BrokenError(f"its image directories lead in a circle (byte {place})")
            seen.add(place)
            directory = self._directory(place)
            yield directory
            place = directory.next

    def _directory(self, place: int) -> _Directory:
        # enough for the directory of a frame; longer ones are read again
        data = os.pread(self._descriptor, 512, place) if place < self._size else b""
        if len(data) < self._count.size:
            raise _BrokenError(
                f"an image directory lies beyond its end (byte {place} of {self._size}), it is truncated"
            )
        (count,) = self._count.unpack_from(data)
        if count > _MAX_DIRECTORY_ENTRIES:
            raise _BrokenError(f"an image directory of {count} entries (byte {place}) is absurd")
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
            raise _BrokenError(f"tag {tag} of an image has {len(values)} values")
        return values[0]

    def _integers(self, directory: _Directory, tag: int) -> list[int]:
        if tag not in directory.entries:
            raise _BrokenError(f"an image lacks the tag {tag}")
        kind, count, value = directory.entries[tag]
        if kind not in _INTEGER_TYPES:
            raise _BrokenError(f"tag {tag} of an image is of type {kind}, not whole numbers")
        if count > MAX_SIDE:
            raise _BrokenError(f"tag {tag} of an image has {count} values, which is absurd")
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
            raise _BrokenError(f"tag {tag} of an image points beyond the end of the file")
        return self._read(place, need)

    def _read(self, place: int, count: int) -> bytes:
        data = os.pread(self._descriptor, count, place)
        if len(data) < count:
            raise _BrokenError(f"it ends at byte {place + len(data)} within an image directory, it is truncated")
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
    return EerIndex(ny, nx, code, places, counts, bounds, intact, metadata)


def _footer_index(descriptor: int, size: int) -> EerIndex:
    """Index of the container without TIFF, from its end: 4096 x 4096, 7 + 2 + 2 bits."""
    offsets: list[int] = []
    byte_counts: list[int] = []
    intact: list[bool] = []
    end = size
    while end > 0:
        start = end - _FOOTER_BYTES - 8
        tail = os.pread(descriptor, _FOOTER_BYTES + 8, start) if start >= 0 else b""
        if tail[8:] not in (_FOOTER_OK, _FOOTER_ERROR):
            raise _BrokenError("no EER file: neither TIFF, nor frames with footers up to its end")
        count = 8 * struct.unpack_from("<q", tail)[0]
        if not 0 <= count <= start:
            raise _BrokenError(f"the size of a frame before byte {end} is absurd")
        end = start - count
        offsets.append(end)
        byte_counts.append(count)
        intact.append(tail[8:] == _FOOTER_OK)
    if not offsets:
        raise _BrokenError("an empty file")
    places, counts = np.array(offsets[::-1], np.int64), np.array(byte_counts[::-1], np.int64)
    bounds = np.arange(len(offsets) + 1, dtype=np.int64)
    return EerIndex(4096, 4096, CODE_7BIT, places, counts, bounds, np.array(intact[::-1], bool), {})


def _items(xml: bytes) -> dict[str, str]:
    """Items of metadata; empty where they are not readable, because pixels do not depend on them."""
    try:
        root = defusedxml.ElementTree.fromstring(xml.strip(b"\0 \r\n"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {}
    return {item.get("name", ""): (item.text or "").strip() for item in root.iter("item") if item.get("name")}
