"""Layout of TIFF movies, and index of the pages of archived movies, without decoding pixels.

TIFF stores rows from the top, and MRC from the bottom, so page rows are frame rows in reverse order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec
from cryofs.codecs.registry import tags_of
from cryofs.errors import DamagedError
from cryofs.formats.tiff_directories import MAGICS, BrokenError, Directory, TiffDirectories
from cryofs.storage.byte_source import LocalFile

CLASSIC_LIMIT = 1 << 32
ANGSTROM_PER_CM = 1e8
OFFSETS, BYTE_COUNTS = 273, 279
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
# Defaults of tags that a page may omit: SamplesPerPixel, Predictor, SampleFormat.
_DEFAULTS = {277: 1, 317: 1, 339: 1}
WORK_ROWS = 128
# Minimum number of rows and of row blocks in a frame; smaller frames are decoded whole.
ROWS_WORTH_IT = 769
ROW_BLOCKS_WORTH_IT = 4
# Bytes that no codec exceeds as overhead of a strip.
STRIP_OVERHEAD = 1024


@dataclass(frozen=True)
class PageLayout:
    """Layout of all pages of a movie: shape (ny, nx), pixel type, codec, rows per strip, and angstrom per pixel."""

    ny: int
    nx: int
    dtype: np.dtype[Any]
    codec: Codec
    rows_per_strip: int
    pixel_size: float | None

    @property
    def strips(self) -> int:
        """Number of strips in a page."""
        return -(-self.ny // self.rows_per_strip)

    @property
    def page_bytes(self) -> int:
        """Size of the decoded pixels of a page in bytes."""
        return self.ny * self.nx * self.dtype.itemsize

    @property
    def most_stored_bytes(self) -> int:
        """Maximum encoded size of a page in bytes; LZW expands incompressible strips by up to half."""
        return 2 * self.page_bytes + STRIP_OVERHEAD * self.strips

    def strip_groups(self) -> list[range]:
        """Return the strip numbers of a page in groups of about 128 rows, the unit of work."""
        size = self._strips_of_group
        return [range(first, min(first + size, self.strips)) for first in range(0, self.strips, size)]

    def strip_group_at(self, row: int) -> range:
        """Return the strip group that contains a frame row."""
        number = (self.ny - 1 - row) // self.rows_per_strip
        first = number - number % self._strips_of_group
        return range(first, min(first + self._strips_of_group, self.strips))

    def row_block(self, row: int) -> range | None:
        """Return the row block (frame rows) that contains a row, or None if only whole frames can be decoded."""
        if self.ny < ROWS_WORTH_IT or self.strips <= (ROW_BLOCKS_WORTH_IT - 1) * self._strips_of_group:
            return None
        rows = self.frame_rows(self.strip_group_at(row))
        return range(rows.start, rows.stop)

    def strips_of(self, rows: range | None) -> range:
        """Return the numbers of the strips that contain some frame rows; if `rows` is None, of all strips.

        Raises
        ------
        ValueError
            The rows do not consist of whole strips.
        """
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
        """Return the frame rows in consecutive strips; the first strip contains the last rows."""
        last = self.ny - strips.start * self.rows_per_strip
        return slice(max(self.ny - strips.stop * self.rows_per_strip, 0), last)


@dataclass(frozen=True, eq=False)
class Page:
    """Offsets and sizes of the strips of a page, as arrays, because a page may have thousands of strips."""

    offsets: NDArray[np.uint64]
    byte_counts: NDArray[np.uint64]

    def lists(self) -> tuple[list[int], list[int]]:
        """Return offsets and sizes as lists, the form of records."""
        return self.offsets.tolist(), self.byte_counts.tolist()


def read_pages(path: Path, layout: PageLayout, frames: int) -> list[Page]:
    """Return the location of all pages of a movie that cryofs wrote with this layout.

    Raises
    ------
    DamagedError
        The file is not a TIFF file, or the layout or the number of pages does not match.
    """
    pages = []
    try:
        with LocalFile.open(path) as source:
            head = source.read(len(MAGICS[0]), 0)
            if head not in MAGICS or not head.startswith(b"II"):
                raise BrokenError("not a little-endian TIFF file")
            directories = TiffDirectories(source, head)
            wanted = _tags_of(layout)
            checked = None
            for number, directory in enumerate(directories):
                # reading up to one page more than expected detects surplus pages
                if number == frames:
                    raise _wrong_number(path, frames, "more")
                found = {tag: directory.entries.get(tag) for tag in wanted}
                # tags equal to those of the previous page were already compared
                if found != checked:
                    _check_tags(path, number, directories, directory, wanted)
                    checked = found
                pages.append(_page(directories, directory, layout))
    except (BrokenError, OSError) as error:
        raise DamagedError(f"{path}: damaged TIFF pages ({error}); restore the file from a backup") from error
    if len(pages) != frames:
        raise _wrong_number(path, frames, str(len(pages)))
    return pages


def _tags_of(layout: PageLayout) -> dict[int, int]:
    """Return the values of the tags that determine how readers decode a page."""
    compression, predictor = tags_of(layout.codec)
    dtype = layout.dtype
    return {
        256: layout.nx,
        257: layout.ny,
        258: 8 * dtype.itemsize,
        259: compression,
        277: 1,
        278: layout.rows_per_strip,
        317: predictor,
        339: SAMPLE_FORMATS[dtype.kind],
    }


def _check_tags(
    path: Path, number: int, directories: TiffDirectories, directory: Directory, wanted: dict[int, int]
) -> None:
    def value(tag: int) -> int:
        default = _DEFAULTS.get(tag)
        return default if default is not None and tag not in directory.entries else directories.one(directory, tag)

    found = {tag: value(tag) for tag in wanted}
    if found != wanted:
        raise DamagedError(
            f"{path}, frame {number}: layout mismatch of the TIFF page (expected tags {wanted}, got {found}); "
            "restore the file from a backup"
        )


def _page(directories: TiffDirectories, directory: Directory, layout: PageLayout) -> Page:
    offsets, byte_counts = (directories.integers(directory, tag, layout.strips) for tag in (OFFSETS, BYTE_COUNTS))
    return Page(offsets, byte_counts)


def _wrong_number(path: Path, frames: int, found: str) -> DamagedError:
    return DamagedError(
        f"{path}: wrong number of TIFF pages (expected {frames}, got {found}); restore the file from a backup"
    )
