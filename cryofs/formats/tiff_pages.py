"""Multi-page TIFF movies: pages written from encoded strips, and the index of a file's pages.

A TIFF shows its rows from the top, an MRC from the bottom: page rows are frame rows reversed. Nothing here decodes.
"""

import io
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec
from cryofs.codecs.registry import tags_of
from cryofs.errors import DamagedError, FormatError

# Its remarks on damaged files are lines on the terminal; what matters of them is in the errors.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
CLASSIC_LIMIT = 1 << 32
ANGSTROM_PER_CM = 1e8
# Resolutions are stored as a quotient of two uint32; a movie with smaller pixels (below 0.024 A) has none.
_MAX_RATIONAL = 2**32 - 1
WORK_ROWS = 256
# Frames of fewer row blocks are decoded whole.
ROW_BLOCKS_WORTH_IT = 4
# More than any codec adds to a strip, however short it is.
_STRIP_OVERHEAD = 1024


@dataclass(frozen=True)
class PageLayout:
    """What all pages of a movie share: shape (ny, nx), pixel type, codec, rows a strip, angstrom per pixel."""

    ny: int
    nx: int
    dtype: np.dtype[Any]
    codec: Codec
    rows_per_strip: int
    pixel_size: float | None

    @property
    def strips(self) -> int:
        """Strips of a page."""
        return -(-self.ny // self.rows_per_strip)

    @property
    def page_bytes(self) -> int:
        """Bytes of the pixels of a page."""
        return self.ny * self.nx * self.dtype.itemsize

    @property
    def most_stored_bytes(self) -> int:
        """Bytes that the strips of a page take, encoded, at most: LZW makes them longer by half where it is bad."""
        return 2 * self.page_bytes + _STRIP_OVERHEAD * self.strips

    def strip_groups(self) -> list[range]:
        """Numbers of the strips, divided into pieces of work of about 256 rows."""
        size = self._strips_of_group
        return [range(first, min(first + size, self.strips)) for first in range(0, self.strips, size)]

    def strip_group_at(self, row: int) -> range:
        """The one of these pieces that holds a frame row."""
        number = (self.ny - 1 - row) // self.rows_per_strip
        first = number - number % self._strips_of_group
        return range(first, min(first + self._strips_of_group, self.strips))

    def row_block(self, row: int) -> range | None:
        """Return the frame rows that are decoded together with a row; None if they are much of the frame."""
        if self.strips <= (ROW_BLOCKS_WORTH_IT - 1) * self._strips_of_group:
            return None
        rows = self.frame_rows(self.strip_group_at(row))
        return range(rows.start, rows.stop)

    def strips_of(self, rows: range | None) -> range:
        """Return the strips that hold some frame rows, None for all; raise ValueError unless they hold only these."""
        if rows is None:
            return range(self.strips)
        last = self.ny - rows.start
        strips = range((self.ny - rows.stop) // self.rows_per_strip, -(-last // self.rows_per_strip))
        inside = 0 <= rows.start < rows.stop <= self.ny
        if not inside or self.frame_rows(strips) != slice(rows.start, rows.stop):
            raise ValueError(f"rows {rows.start} to {rows.stop} are not whole strips of {self.rows_per_strip} rows")
        return strips

    @property
    def _strips_of_group(self) -> int:
        return max(1, WORK_ROWS // self.rows_per_strip)

    def frame_rows(self, strips: range) -> slice:
        """Frame rows that neighbouring strips hold; the first strip holds the last rows."""
        last = self.ny - strips.start * self.rows_per_strip
        return slice(max(self.ny - strips.stop * self.rows_per_strip, 0), last)


@dataclass(frozen=True, eq=False)
class Page:
    """Where the strips of a page lie in the file; arrays, because a page may have thousands."""

    offsets: NDArray[np.uint64]
    byte_counts: NDArray[np.uint64]

    def lists(self) -> tuple[list[int], list[int]]:
        """Offsets and sizes as numbers that records hold."""
        return self.offsets.tolist(), self.byte_counts.tolist()


class TiffMovieWriter:
    """Writes a movie page by page into an open file, which it does not close."""

    def __init__(self, file: io.BufferedRandom, layout: PageLayout, *, big: bool, description: str, software: str):
        self._file = file
        self._layout = layout
        self._writer = tifffile.TiffWriter(file, bigtiff=big)
        self._description: str | None = description
        self._software = software

    def write_page(self, strips: Sequence[bytes]) -> int:
        """Append a page, its strips encoded already; return the offset of the first, the others follow."""
        layout = self._layout
        resolution = None
        if layout.pixel_size is not None and layout.pixel_size * _MAX_RATIONAL > ANGSTROM_PER_CM:
            resolution = (ANGSTROM_PER_CM / layout.pixel_size,) * 2
        compression, predictor = tags_of(layout.codec)
        self._writer.write(
            iter(strips),
            shape=(layout.ny, layout.nx),
            dtype=layout.dtype,
            photometric="minisblack",
            rowsperstrip=layout.rows_per_strip,
            compression=compression,
            predictor=predictor,
            resolution=resolution,
            resolutionunit="centimeter" if resolution else None,
            metadata=None,
            description=self._description,
            software=self._software if self._description else False,
        )
        self._description = None
        # the strips are the last that is written of a page
        return self._file.tell() - sum(map(len, strips))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def read_pages(path: Path, layout: PageLayout, frames: int) -> list[Page]:
    """Index of the pages of a movie that `TiffMovieWriter` wrote with this layout.

    Raises
    ------
    DamagedError
        No TIFF, a page of another layout, or another number of pages.
    """
    pages = []
    try:
        with tifffile.TiffFile(path) as tiff:
            # one more tells that there are too many; tifffile follows directories that lead in a circle for ever
            for number, page in enumerate(itertools.islice(tiff.pages, frames + 1)):
                _check_page(path, number, page, layout)
                pages.append(Page(np.array(page.dataoffsets, np.uint64), np.array(page.databytecounts, np.uint64)))
    except DamagedError:
        raise
    except Exception as error:
        raise DamagedError(f"{path}: its TIFF pages are damaged ({error}); restore it from a backup") from error
    if len(pages) != frames:
        count = "more" if len(pages) > frames else str(len(pages))
        raise DamagedError(f"{path}: {count} TIFF pages instead of {frames}; restore it from a backup")
    return pages


def read_image(path: Path) -> NDArray[np.float32]:
    """First image of any TIFF file, shape (ny, nx), its rows in the order of the file.

    Raises
    ------
    FormatError
        No TIFF file, or no image of one value a pixel.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            values = tiff.pages[0].asarray()
    except Exception as error:
        raise FormatError(f"no readable TIFF image ({error})") from error
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise FormatError(f"an image of shape {values.shape} and type {values.dtype} is no gain reference")
    # what is too large becomes infinite
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def _check_page(path: Path, number: int, page: Any, layout: PageLayout) -> None:
    key = page.keyframe
    found = (key.imagelength, key.imagewidth, key.dtype, int(key.compression), int(key.predictor), key.rowsperstrip)
    wanted = (layout.ny, layout.nx, layout.dtype, *tags_of(layout.codec), layout.rows_per_strip)
    if found != wanted:
        raise DamagedError(
            f"{path}, frame {number}: the TIFF page has another layout than recorded ({str(found)[:200]}, {wanted})"
        )
