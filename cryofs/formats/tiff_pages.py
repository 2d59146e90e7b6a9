"""Multi-page TIFF movies: write pages from encoded strips, and index the pages of a file. Decodes no pixels.

TIFF stores rows from the top, MRC from the bottom, so page rows are frame rows in reverse order.
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

# tifffile logs warnings about damaged files to the terminal; errors already report them.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
CLASSIC_LIMIT = 1 << 32
ANGSTROM_PER_CM = 1e8
# Resolutions are stored as a quotient of two uint32; movies with smaller pixels (below 0.024 A) have no resolution tag.
_MAX_RATIONAL = 2**32 - 1
WORK_ROWS = 256
# Frames of fewer row blocks are decoded whole.
ROW_BLOCKS_WORTH_IT = 4
# More than any codec adds to a strip, however short it is.
STRIP_OVERHEAD = 1024


@dataclass(frozen=True)
class PageLayout:
    """Layout of all pages of a movie: shape (ny, nx), pixel type, codec, rows per strip, angstrom per pixel."""

    ny: int
    nx: int
    dtype: np.dtype[Any]
    codec: Codec
    rows_per_strip: int
    pixel_size: float | None

    @property
    def strips(self) -> int:
        """Number of strips per page."""
        return -(-self.ny // self.rows_per_strip)

    @property
    def page_bytes(self) -> int:
        """Bytes of the decoded pixels of a page."""
        return self.ny * self.nx * self.dtype.itemsize

    @property
    def most_stored_bytes(self) -> int:
        """Upper limit of the encoded size of a page; LZW expands incompressible strips by up to half."""
        return 2 * self.page_bytes + STRIP_OVERHEAD * self.strips

    def strip_groups(self) -> list[range]:
        """Return the strip numbers of a page in groups of about 256 rows, the unit of work."""
        size = self._strips_of_group
        return [range(first, min(first + size, self.strips)) for first in range(0, self.strips, size)]

    def strip_group_at(self, row: int) -> range:
        """Return the strip group that contains a frame row."""
        number = (self.ny - 1 - row) // self.rows_per_strip
        first = number - number % self._strips_of_group
        return range(first, min(first + self._strips_of_group, self.strips))

    def row_block(self, row: int) -> range | None:
        """Return the frame rows that are decoded together with a row; None if whole frames are decoded instead."""
        if self.strips <= (ROW_BLOCKS_WORTH_IT - 1) * self._strips_of_group:
            return None
        rows = self.frame_rows(self.strip_group_at(row))
        return range(rows.start, rows.stop)

    def strips_of(self, rows: range | None) -> range:
        """Return the numbers of the strips of some frame rows (None for all); raise ValueError for partial strips."""
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
        """Return the frame rows of consecutive strips; the first strip contains the last rows."""
        last = self.ny - strips.start * self.rows_per_strip
        return slice(max(self.ny - strips.stop * self.rows_per_strip, 0), last)


@dataclass(frozen=True, eq=False)
class Page:
    """Location of the strips of a page in the file, as arrays, because a page may have thousands of strips."""

    offsets: NDArray[np.uint64]
    byte_counts: NDArray[np.uint64]

    def lists(self) -> tuple[list[int], list[int]]:
        """Return offsets and sizes as lists, as stored in records."""
        return self.offsets.tolist(), self.byte_counts.tolist()


class TiffMovieWriter:
    """Write a movie page by page to an open file, without closing it."""

    def __init__(self, file: io.BufferedRandom, layout: PageLayout, *, big: bool, description: str, software: str):
        self._file = file
        self._layout = layout
        self._writer = tifffile.TiffWriter(file, bigtiff=big)
        self._description: str | None = description
        self._software = software

    def write_page(self, strips: Sequence[bytes]) -> int:
        """Append a page of encoded strips; return the offset of the first strip, which the others follow."""
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
        # tifffile writes the strips after everything else of a page
        return self._file.tell() - sum(map(len, strips))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def read_pages(path: Path, layout: PageLayout, frames: int) -> list[Page]:
    """Index the pages of a movie that `TiffMovieWriter` wrote with this layout.

    Raises
    ------
    DamagedError
        If the file is not a TIFF, a page has another layout, or the number of pages differs.
    """
    pages = []
    try:
        with tifffile.TiffFile(path) as tiff:
            # one page more than expected reveals extra pages; tifffile would follow a circular chain forever
            for number, page in enumerate(itertools.islice(tiff.pages, frames + 1)):
                _check_page(path, number, page, layout)
                pages.append(Page(np.array(page.dataoffsets, np.uint64), np.array(page.databytecounts, np.uint64)))
    except DamagedError:
        raise
    except Exception as error:
        raise DamagedError(f"{path}: its TIFF pages are damaged ({error}); restore it from a backup") from error
    if len(pages) != frames:
        count = "more" if len(pages) > frames else str(len(pages))
        raise DamagedError(
            f"{path}: wrong number of TIFF pages (expected {frames}, got {count}); restore it from a backup"
        )
    return pages


def read_image(path: Path) -> NDArray[np.float32]:
    """Return the first image of any TIFF file, shape (ny, nx), rows in file order.

    Raises
    ------
    FormatError
        If the file is not a TIFF, or the image does not have one value per pixel.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            values = tiff.pages[0].asarray()
    except Exception as error:
        raise FormatError(f"not a readable TIFF image ({error})") from error
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise FormatError(
            f"not a valid gain reference (expected one number per pixel, got shape {values.shape}, type {values.dtype})"
        )
    # values too large for float32 become infinite
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def _check_page(path: Path, number: int, page: Any, layout: PageLayout) -> None:
    key = page.keyframe
    found = (key.imagelength, key.imagewidth, key.dtype, int(key.compression), int(key.predictor), key.rowsperstrip)
    wanted = (layout.ny, layout.nx, layout.dtype, *tags_of(layout.codec), layout.rows_per_strip)
    if found != wanted:
        raise DamagedError(
            f"{path}, frame {number}: layout mismatch of the TIFF page (expected {wanted}, got {str(found)[:200]}); "
            "restore it from a backup"
        )
