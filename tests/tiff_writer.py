"""A writer of classic TIFF files with any tags, for layouts that tifffile and libtiff do not write."""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTE, ASCII, SHORT, LONG = 1, 2, 3, 4
_LETTERS = {SHORT: "H", LONG: "I"}
_TYPES = {"u": 1, "i": 2, "f": 3}
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Tags = Mapping[int, tuple[int, Sequence[int]]]


@dataclass(frozen=True)
class PageForm:
    """How a page is written.

    Attributes
    ----------
    encode : callable
        Bytes of a strip -> stored bytes.
    sizes : callable
        Sizes of the strips -> the sizes that the file gives.
    is_padded : bool
        Whether the last strip has as many rows as the others.
    tags : mapping
        Further tags, or other values, by number: type and values.
    without : tuple of int
        Tags to leave out.
    """

    rows: int = 10
    compression: int = 1
    encode: Callable[[bytes], bytes | bytearray] = bytes
    sizes: Callable[[list[int]], list[int]] = list
    is_padded: bool = False
    tags: Tags = field(default_factory=dict)
    without: tuple[int, ...] = ()


def write_pages(path: Path, frames: Iterable[NDArray[Any]], *forms: PageForm, order: str = "<") -> Path:
    """Write frames, rows as MRC has them, one page each; the last form serves for the remaining pages."""
    data = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 0))
    link = 4
    for number, frame in enumerate(frames):
        form = forms[min(number, len(forms) - 1)] if forms else PageForm()
        tags = _page(data, frame[::-1], form, order)
        entries = b"".join(_entry(data, tag, *tags[tag], order) for tag in sorted(tags))
        data += bytes(len(data) % 2)
        struct.pack_into(order + "I", data, link, len(data))
        data += struct.pack(order + "H", len(tags)) + entries
        link = len(data)
        data += bytes(4)
    path.write_bytes(data)
    return path


def _page(data: bytearray, page: NDArray[Any], form: PageForm, order: str) -> dict[int, tuple[int, Sequence[int]]]:
    """Append the strips of a page; return its tags."""
    ny, nx = page.shape
    places, sizes = [], []
    for first in range(0, ny, form.rows):
        strip = page[first : first + form.rows].astype(page.dtype.newbyteorder(order))  # type: ignore[arg-type]
        if form.is_padded:
            strip = np.pad(strip, ((0, form.rows - len(strip)), (0, 0)), mode="edge")
        stored = bytes(form.encode(strip.tobytes()))
        places.append(len(data))
        sizes.append(len(stored))
        data += stored + bytes(len(stored) % 2)
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [nx]),
        257: (LONG, [ny]),
        258: (SHORT, [8 * page.dtype.itemsize]),
        259: (SHORT, [form.compression]),
        262: (SHORT, [1]),
        273: (LONG, places),
        277: (SHORT, [1]),
        278: (LONG, [form.rows]),
        279: (LONG, form.sizes(sizes)),
        339: (SHORT, [_TYPES[page.dtype.kind]]),
    }
    return {tag: value for tag, value in (tags | dict(form.tags)).items() if tag not in form.without}


def _entry(data: bytearray, tag: int, kind: int, values: Sequence[int], order: str) -> bytes:
    """Return the entry of a tag; values that do not fit into it are appended."""
    packed = bytes(values) if kind in (BYTE, ASCII) else struct.pack(f"{order}{len(values)}{_LETTERS[kind]}", *values)
    if len(packed) > 4:
        data += bytes(len(data) % 2)
        place = len(data)
        data += packed
        packed = struct.pack(order + "I", place)
    return struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
