"""Locate the parts of a TIFF file with an independent reader, so that each part can be damaged on purpose."""

import struct
from dataclasses import dataclass

MOST_DIRECTORIES = 1000
_LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q", 6: "b", 7: "B", 13: "I", 16: "Q", 18: "Q"}
# of strips, or of tiles
_OFFSETS, _BYTE_COUNTS = (273, 324), (279, 325)


class NoTiffError(Exception):
    """The file is not a valid TIFF."""


@dataclass(frozen=True)
class Entry:
    """A tag in a directory: the offset of its 12 or 20 bytes, and its values, empty if they are not readable."""

    tag: int
    place: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Directory:
    """An image directory: its offset, the position of the link to the next directory, its tags."""

    place: int
    link: int
    entries: dict[int, Entry]

    @property
    def strips(self) -> list[tuple[int, int]]:
        """Return offset and size of each strip or tile; size 0 if the file does not give it."""
        places, sizes = self._values(_OFFSETS), self._values(_BYTE_COUNTS)
        return list(zip(places, sizes or [0] * len(places), strict=True))

    def _values(self, tags: tuple[int, int]) -> tuple[int, ...]:
        return next((self.entries[tag].values for tag in tags if tag in self.entries), ())


@dataclass(frozen=True)
class Form:
    """Byte order, and classic or BigTIFF."""

    order: str
    big: bool

    @classmethod
    def of(cls, data: bytes) -> "Form":
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        magic = struct.unpack_from(f"{order}H", data, 2)[0] if order and len(data) > 4 else 0
        if order is None or magic not in (42, 43):
            raise NoTiffError("no TIFF")
        return cls(order, magic == 43)

    @property
    def word(self) -> str:
        """Format of an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def entry_bytes(self) -> int:
        """Size of a tag in a directory."""
        return 20 if self.big else 12

    @property
    def first_link(self) -> int:
        """Position of the link to the first directory."""
        return 8 if self.big else 4


def directories(data: bytes) -> list[Directory]:
    """Return all image directories in order."""
    form = Form.of(data)
    found: list[Directory] = []
    try:
        (place,) = struct.unpack_from(form.word, data, form.first_link)
        while place:
            if len(found) == MOST_DIRECTORIES or place in {one.place for one in found}:
                raise NoTiffError("a circle")
            directory = _directory(data, form, place)
            found.append(directory)
            if sum(one.link - one.place for one in found) > len(data):
                raise NoTiffError("directories that overlap")
            (place,) = struct.unpack_from(form.word, data, directory.link)
    except (struct.error, KeyError, OverflowError, ValueError) as error:
        raise NoTiffError(str(error)) from error
    return found


def _directory(data: bytes, form: Form, place: int) -> Directory:
    count_form = form.order + ("Q" if form.big else "H")
    (count,) = struct.unpack_from(count_form, data, place)
    if count * form.entry_bytes > len(data):
        raise NoTiffError("a directory longer than the file")
    first = place + struct.calcsize(count_form)
    entries = [_entry(data, form, first + number * form.entry_bytes) for number in range(count)]
    return Directory(place, first + count * form.entry_bytes, {entry.tag: entry for entry in entries})


def _entry(data: bytes, form: Form, place: int) -> Entry:
    tag, kind, count = struct.unpack_from(form.order + ("HHQ" if form.big else "HHI"), data, place)
    inline = 8 if form.big else 4
    size = struct.calcsize(_LETTERS[kind]) * count if kind in _LETTERS else 0
    if not 0 < size <= len(data):
        return Entry(tag, place, ())
    where = place + form.entry_bytes - inline
    if size > inline:
        (where,) = struct.unpack_from(form.word, data, where)
    if where + size > len(data):
        return Entry(tag, place, ())
    return Entry(tag, place, struct.unpack_from(f"{form.order}{count}{_LETTERS[kind]}", data, where))
