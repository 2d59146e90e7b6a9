"""Write TIFF movies from encoded strips.

A page consists of a directory, the values that do not fit into the directory, and the strips. The files are identical
to those of tifffile, which needs more time for the directory of a small frame than encoding the frame takes.
"""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Self

from cryofs.codecs.registry import tags_of
from cryofs.formats.tiff_pages import ANGSTROM_PER_CM, BYTE_COUNTS, OFFSETS, SAMPLE_FORMATS, PageLayout

_ASCII, _SHORT, _LONG, _RATIONAL, _LONG8 = 2, 3, 4, 5, 16
_LETTERS = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
_BLACK_IS_ZERO = 1
_NO_UNIT, _CENTIMETER = 1, 3
# Alignment of strips in bytes; directories and values begin at even offsets.
_ALIGNMENT = 16
# Resolutions are stored as a quotient of two uint32. Movies with smaller pixels (below 0.024 A) have no resolution tag.
_MAX_RATIONAL = 2**32 - 1
# Largest expansion of a strip by any codec. Sizes of strips are stored in the narrowest type for the result.
_MOST_EXPANSION = 10

# Type, number of values, and the values as bytes.
_Field = tuple[int, int, bytes]


class TiffMovieWriter:
    """Writer of a movie, page by page, to an open empty file, which the caller closes.

    Parameters
    ----------
    big : bool
        Whether to write BigTIFF.
    description, software : str
        Values of the tags ImageDescription and Software in the first page.
    """

    def __init__(self, file: io.BufferedRandom, layout: PageLayout, *, big: bool, description: str, software: str):
        self._file = file
        self._layout = layout
        self._offset_type = _LONG8 if big else _LONG
        self._offset = struct.Struct("<Q" if big else "<I")
        self._entry = struct.Struct("<HHQ" if big else "<HHI")
        self._count = struct.Struct("<Q" if big else "<H")
        self._fields = self._same_fields()
        # written to the first page only
        self._texts = {270: _text(description), 305: _text(software)}
        head = b"II+\0\x08\0\0\0" if big else b"II*\0"
        # end of the file, and position at which the offset of the next page is written
        self._end, self._link = 0, len(head)
        self._write([head, self._offset.pack(len(head) + self._offset.size)])

    def write_page(self, strips: Sequence[bytes]) -> int:
        """Append a page of encoded strips; return the offset of the first strip. The others follow without gaps."""
        sizes = list(map(len, strips))
        place = self._end + self._end % 2
        fields = self._fields | self._texts
        fields[OFFSETS] = _integers(self._offset_type, [0] * len(sizes))
        fields[BYTE_COUNTS] = _integers(self._type_of_sizes(), sizes)
        after = place + self._size_of(fields)
        first = after + -after % _ALIGNMENT
        end = first + sum(sizes)
        offsets = [first]
        for size in sizes[:-1]:
            offsets.append(offsets[-1] + size)
        fields[OFFSETS] = _integers(self._offset_type, offsets)
        # the offset of a possible next page, which begins at the end of the file
        directory = self._directory(place, fields, end + end % 2)
        self._link = place + self._count.size + len(fields) * (self._entry.size + self._offset.size)
        self._write([bytes(place - self._end), directory, bytes(first - after), *strips])
        self._texts = {}
        return first

    @property
    def end(self) -> int:
        """Size of the file so far."""
        return self._end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Mark the last page as the end of the chain of pages."""
        self._file.seek(self._link)
        self._file.write(self._offset.pack(0))
        self._file.seek(self._end)

    def _same_fields(self) -> dict[int, _Field]:
        """Return the fields that are the same in all pages."""
        layout = self._layout
        compression, predictor = tags_of(layout.codec)
        resolution, unit = (1, 1), _NO_UNIT
        if layout.pixel_size is not None and layout.pixel_size * _MAX_RATIONAL > ANGSTROM_PER_CM:
            resolution, unit = _rational(ANGSTROM_PER_CM / layout.pixel_size), _CENTIMETER
        fields = {
            256: _integers(_LONG, [layout.nx]),
            257: _integers(_LONG, [layout.ny]),
            258: _integers(_SHORT, [8 * layout.dtype.itemsize]),
            259: _integers(_SHORT, [compression]),
            262: _integers(_SHORT, [_BLACK_IS_ZERO]),
            277: _integers(_SHORT, [1]),
            278: _integers(_LONG, [layout.rows_per_strip]),
            282: (_RATIONAL, 1, struct.pack("<2I", *resolution)),
            283: (_RATIONAL, 1, struct.pack("<2I", *resolution)),
            296: _integers(_SHORT, [unit]),
        }
        if layout.codec.predictor != "none":
            fields[317] = _integers(_SHORT, [predictor])
        if layout.dtype.kind != "u":
            fields[339] = _integers(_SHORT, [SAMPLE_FORMATS[layout.dtype.kind]])
        return fields

    def _type_of_sizes(self) -> int:
        """Return the narrowest TIFF type that can store the sizes of all strips."""
        layout = self._layout
        if layout.strips == 1:
            return self._offset_type
        most = _MOST_EXPANSION * layout.rows_per_strip * layout.nx * layout.dtype.itemsize
        return _SHORT if most < 1 << 16 else _LONG if most < 1 << 32 else self._offset_type

    def _size_of(self, fields: dict[int, _Field]) -> int:
        """Return the size in bytes of a directory and the values after it."""
        inside = self._count.size + len(fields) * (self._entry.size + self._offset.size) + self._offset.size
        return inside + sum(len(value) + len(value) % 2 for *_, value in fields.values() if not self._fits(value))

    def _fits(self, value: bytes) -> bool:
        """Return True if a value fits into the value field of a directory entry."""
        return len(value) <= self._offset.size

    def _directory(self, place: int, fields: dict[int, _Field], following: int) -> bytes:
        """Return the bytes of a directory and the values after it; `place`, the offset of the directory, is even."""
        width = self._offset.size
        outside = place + self._count.size + len(fields) * (self._entry.size + width) + width
        parts, values = [self._count.pack(len(fields))], []
        for tag in sorted(fields):
            kind, count, value = fields[tag]
            parts.append(self._entry.pack(tag, kind, count))
            if self._fits(value):
                parts.append(value.ljust(width, b"\0"))
                continue
            parts.append(self._offset.pack(outside))
            values.append(value + bytes(len(value) % 2))
            outside += len(values[-1])
        return b"".join([*parts, self._offset.pack(following), *values])

    def _write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._file.write(piece)
            self._end += len(piece)


def _integers(kind: int, values: Sequence[int]) -> _Field:
    return kind, len(values), struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values)


def _text(text: str) -> _Field:
    value = text.encode("ascii") + b"\0"
    return _ASCII, len(value), value


def _rational(value: float) -> tuple[int, int]:
    """Return the numerator and denominator (uint32 each) of the nearest fraction to a value."""
    exact = Fraction(value)
    nearest = exact.limit_denominator(min(_MAX_RATIONAL, int(_MAX_RATIONAL / exact)))
    return nearest.numerator, nearest.denominator
