"""The TIFF container of EER files, which has one image directory for each frame.

Images with compression 65000, 65001 or 65002 contain electron events. All others, such as a summed image, are skipped.
"""

from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException
from numpy.typing import NDArray

from cryofs.formats.eer.index import CODE_7BIT, CODE_8BIT, EerIndex, EventCode
from cryofs.formats.tiff_directories import BrokenError, Directory, TiffDirectories, check_strip_count, strips_inside
from cryofs.storage.byte_source import ByteSource

_MAX_METADATA_BYTES = 16 << 20

_WIDTH, _HEIGHT, _COMPRESSION, _OFFSETS, _BYTE_COUNTS = 256, 257, 259, 273, 279
_ACQUISITION_METADATA, _FINAL_METADATA = 65001, 65006
_RUN_BITS, _X_BITS, _Y_BITS = 65007, 65008, 65009

_CODES = {65000: CODE_8BIT, 65001: CODE_7BIT}
_CODE_IN_TAGS = 65002
# compressions that cameras wrote both with and without sub-pixel bits after a run length of all ones
_OVERFLOW_VARIES = (65000, 65002)


class TiffContainer:
    """The TIFF container of an open EER file."""

    def __init__(self, source: ByteSource, head: bytes):
        self._size = source.size
        self._directories = TiffDirectories(source, head)

    def index(self) -> EerIndex:
        """Return the index of all images with electron events; raise BrokenError if the container is damaged."""
        geometry: tuple[int, int, EventCode, EventCode | None] | None = None
        offsets: list[NDArray[np.uint64]] = []
        byte_counts: list[NDArray[np.uint64]] = []
        first_strips = [0]
        metadata: dict[str, str] = {}
        wanted = {_ACQUISITION_METADATA, _FINAL_METADATA}
        for number, directory in enumerate(self._directories):
            for tag in wanted & directory.entries.keys():
                metadata |= _items(self._directories.text(directory, tag, _MAX_METADATA_BYTES))
                wanted.remove(tag)
            compression = self._compression(directory)
            code = self._code(directory, compression)
            if code is None:
                continue
            other = code.with_other_overflow if compression in _OVERFLOW_VARIES else None
            found = (self._directories.one(directory, _HEIGHT), self._directories.one(directory, _WIDTH), code, other)
            if geometry is not None and found != geometry:
                raise BrokenError(f"image {number} differs from earlier images in size or event layout")
            geometry = found
            places, counts = (self._directories.integers(directory, tag) for tag in (_OFFSETS, _BYTE_COUNTS))
            if len(places) != len(counts):
                raise BrokenError(f"invalid strips of image {number} (expected {len(places)} sizes, got {len(counts)})")
            offsets.append(places)
            byte_counts.append(counts)
            first_strips.append(first_strips[-1] + len(places))
            check_strip_count(first_strips[-1], number + 1, self._size)
        if geometry is None:
            raise BrokenError("not an EER file (a TIFF file without electron events)")
        places, counts = np.concatenate(offsets), np.concatenate(byte_counts)
        return _make_index(geometry, places, counts, first_strips, metadata, self._size)

    def _compression(self, directory: Directory) -> int:
        return self._directories.one(directory, _COMPRESSION) if _COMPRESSION in directory.entries else 1

    def _code(self, directory: Directory, compression: int) -> EventCode | None:
        """Return the bit layout of events in an image, or None if the image has no events."""
        if compression != _CODE_IN_TAGS:
            return _CODES.get(compression)
        run_bits, x_bits = self._directories.one(directory, _RUN_BITS), self._directories.one(directory, _X_BITS)
        # early cameras did not write this tag
        y_bits = self._directories.one(directory, _Y_BITS) if _Y_BITS in directory.entries else x_bits
        return EventCode(run_bits, x_bits, y_bits, run_bits)


def _make_index(
    geometry: tuple[int, int, EventCode, EventCode | None],
    offsets: NDArray[np.uint64],
    byte_counts: NDArray[np.uint64],
    first_strips: list[int],
    metadata: dict[str, str],
    size: int,
) -> EerIndex:
    ny, nx, code, other = geometry
    inside = strips_inside(offsets, byte_counts, size)
    bounds = np.array(first_strips, np.int64)
    outside_before = np.concatenate([[0], np.cumsum(~inside)])
    intact = outside_before[bounds[1:]] == outside_before[bounds[:-1]]
    # offsets of strips outside the file may exceed int64, but these strips are never read
    places, counts = (np.where(inside, values, 0).astype(np.int64) for values in (offsets, byte_counts))
    if counts.sum(dtype=np.float64) > size:
        raise BrokenError("invalid strips (larger than the file)")
    return EerIndex(ny, nx, code, places, counts, bounds, intact, metadata, other)


def _items(xml: bytes) -> dict[str, str]:
    """Return the metadata items of an XML text; return none if it is invalid, because pixels do not depend on them."""
    try:
        root = defusedxml.ElementTree.fromstring(xml.strip(b"\0 \r\n"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {}
    return {item.get("name", ""): (item.text or "").strip() for item in root.iter("item") if item.get("name")}
