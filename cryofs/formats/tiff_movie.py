"""TIFF movies of other programs: what their pages share, and where each page lies. Nothing here decodes.

Known are those that microscopes and RELION write: pages of equal size, one value a pixel, in strips.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from cryofs.codecs.predictor import suits
from cryofs.codecs.registry import codec_of_tags
from cryofs.errors import DamagedError, FormatError
from cryofs.formats.tiff_directories import (
    MAGICS,
    BrokenError,
    Directory,
    TiffDirectories,
    check_strip_count,
    strips_inside,
)
from cryofs.formats.tiff_pages import ANGSTROM_PER_CM, Page, PageLayout
from cryofs.storage.byte_source import ByteSource

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_PHOTOMETRIC, _FILL_ORDER = 262, 266
_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _BYTE_COUNTS = 273, 277, 278, 279
_RESOLUTION, _RESOLUTION_UNIT, _PREDICTOR, _FORMAT = 282, 296, 317, 339

# White or black is zero: readers of movies take the numbers as they are. All others are no intensities.
_INTENSITIES = (0, 1)
_DTYPES = {(1, 8): "u1", (2, 8): "i1", (1, 16): "u2", (2, 16): "i2", (3, 32): "f4"}
# Far more than any camera has, and the pixels of 16384 x 16384 in float32: what is larger is no movie, or made to take
# memory.
_MAX_SIDE = 1 << 16
_MAX_FRAME_BYTES = 1 << 30
# What a microscope can have; resolutions of scanners and screens lie far outside.
_PIXEL_SIZES = (0.01, 1000.0)
_CM_PER_UNIT = {2: 2.54, 3: 1.0}
# An 8-bit image of half the width of a K2 or K3 super-resolution image holds two 4-bit values a byte, as IMOD writes
# them and RELION reads them: rows and columns, in both orientations of the camera.
_PACKED = {(8184, 5760), (11520, 4092), (7420, 3838), (7676, 3710)}


class NoMovieError(FormatError):
    """A file that is no TIFF movie of a kind that can be shown as MRC."""


class NoFramesError(DamagedError):
    """A damaged TIFF file of which not even the first image can be found."""


class TiffFacts(msgspec.Struct, frozen=True):
    """What a listing has to know of a TIFF movie.

    Attributes
    ----------
    shape : tuple
        Frames, rows, and columns as they are stored.
    dtype : str
        Type of a stored pixel, with its byte order.
    packed : bool
        Whether a stored pixel is two 4-bit values, the first in its low half.
    pixel_size : float or None
        Angstrom.
    """

    shape: tuple[int, int, int]
    dtype: str
    packed: bool
    pixel_size: float | None


@dataclass(frozen=True)
class TiffIndex:
    """A TIFF movie: the layout that its pages share, where each page lies."""

    layout: PageLayout
    pages: list[Page]

    @property
    def facts(self) -> TiffFacts:
        """What a listing has to know."""
        layout = self.layout
        shape = len(self.pages), layout.ny, layout.nx
        packed = layout.dtype == np.uint8 and (layout.ny, layout.nx) in _PACKED
        return TiffFacts(shape, layout.dtype.str, packed, layout.pixel_size)


def read_index(source: ByteSource) -> TiffIndex:
    """Index of an open TIFF movie.

    Raises
    ------
    NoMovieError
        No TIFF, a single image, or pages, pixels or codecs that movies do not have.
    DamagedError
        A TIFF that is cut short or contradicts itself; NoFramesError if that is so before its first image.
    """
    name, size = source.name, source.size
    head = source.read(len(MAGICS[0]), 0)
    if head not in MAGICS:
        raise NoMovieError(f"{name}: no TIFF file; give a movie")
    pages: list[Page] = []
    try:
        directories = TiffDirectories(source, head)
        order = "<" if head.startswith(b"II") else ">"
        first: PageLayout | None = None
        for number, directory in enumerate(directories):
            layout = _layout(directories, directory, order, name)
            if first is not None and layout != first:
                raise NoMovieError(
                    f"{name}: image {number} differs from those before in size or type, so it is no movie"
                )
            first = layout
            pages.append(_page(directories, directory, number, layout, size))
            check_strip_count(layout.strips * len(pages), len(pages), size)
    except BrokenError as error:
        kind = DamagedError if pages else NoFramesError
        raise kind(f"{name}: {error}; copy the file again") from error
    if first is None or len(pages) < 2:
        raise NoMovieError(f"{name}: a TIFF of {len(pages)} images is no movie")
    return TiffIndex(first, pages)


def _layout(directories: TiffDirectories, directory: Directory, order: str, name: str) -> PageLayout:
    def one(tag: int, default: int | None = None) -> int:
        return default if default is not None and tag not in directory.entries else directories.one(directory, tag)

    if _OFFSETS not in directory.entries:
        raise NoMovieError(f"{name}: an image in tiles, which movies are not; only strips are read")
    if one(_SAMPLES, 1) != 1:
        raise NoMovieError(f"{name}: an image of {one(_SAMPLES)} values a pixel is no frame of a movie")
    if one(_FILL_ORDER, 1) != 1:
        raise NoMovieError(
            f"{name}: the bits of each byte are reversed (FillOrder {one(_FILL_ORDER)}), which is not read"
        )
    if one(_PHOTOMETRIC, 1) not in _INTENSITIES:
        raise NoMovieError(f"{name}: pixels of photometric interpretation {one(_PHOTOMETRIC)} are no intensities")
    kind = _DTYPES.get((one(_FORMAT, 1), one(_BITS, 1)))
    if kind is None:
        raise NoMovieError(f"{name}: pixels of {one(_BITS, 1)} bits, format {one(_FORMAT, 1)}, are none of a movie's")
    codec = codec_of_tags(one(_COMPRESSION, 1), one(_PREDICTOR, 1))
    if codec is None:
        found = f"compression {one(_COMPRESSION, 1)}, predictor {one(_PREDICTOR, 1)}"
        raise NoMovieError(f"{name}: {found} is not read; known are none, LZW and deflate")
    dtype = np.dtype(order + kind)
    if not suits(codec.predictor, dtype):
        raise NoMovieError(f"{name}: predictor {codec.predictor} does not go with {dtype.name}")
    ny, nx = one(_HEIGHT), one(_WIDTH)
    if min(ny, nx) < 1:
        raise BrokenError(f"images of {ny} x {nx} are absurd")
    if max(ny, nx) > _MAX_SIDE or ny * nx * dtype.itemsize > _MAX_FRAME_BYTES:
        raise NoMovieError(f"{name}: images of {ny} x {nx}, {dtype.name}, are larger than the frames of any camera")
    rows = min(one(_ROWS_PER_STRIP, ny), ny)
    if rows < 1:
        raise BrokenError(f"strips of {rows} rows are absurd")
    return PageLayout(ny, nx, dtype, codec, rows, _pixel_size(directories, directory))


def _page(directories: TiffDirectories, directory: Directory, number: int, layout: PageLayout, size: int) -> Page:
    offsets, byte_counts = (directories.integers(directory, tag) for tag in (_OFFSETS, _BYTE_COUNTS))
    if not len(offsets) == len(byte_counts) == layout.strips:
        raise BrokenError(f"frame {number} has {len(offsets)} strips of {len(byte_counts)} sizes")
    if not strips_inside(offsets, byte_counts, size).all():
        raise BrokenError(f"frame {number} lies beyond the end of the file, it is truncated")
    stored = sum(byte_counts.tolist())
    if stored > min(size, layout.most_stored_bytes):
        raise BrokenError(f"frame {number} has strips of {stored} bytes, more than it can have")
    if layout.page_bytes > layout.codec.most_expansion * stored:
        raise BrokenError(f"frame {number} of {layout.ny} x {layout.nx} cannot come from {stored} bytes")
    return Page(offsets, byte_counts)


def _pixel_size(directories: TiffDirectories, directory: Directory) -> float | None:
    """Angstrom per pixel from the resolution, None where that is none of a microscope's."""
    resolution = directories.rational(directory, _RESOLUTION)
    unit = directories.one(directory, _RESOLUTION_UNIT) if _RESOLUTION_UNIT in directory.entries else 2
    if not resolution or unit not in _CM_PER_UNIT:
        return None
    pixel_size = ANGSTROM_PER_CM * _CM_PER_UNIT[unit] / resolution
    return pixel_size if _PIXEL_SIZES[0] <= pixel_size <= _PIXEL_SIZES[1] else None
