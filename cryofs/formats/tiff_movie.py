"""TIFF movies of other programs: the layout that all pages share, and the strips of each page. Decodes no pixels.

Supported are movies as written by microscopes and RELION: pages of equal size, one value per pixel, in strips.
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

# WhiteIsZero and BlackIsZero; readers of movies ignore the difference. Other interpretations are not intensities.
_INTENSITIES = (0, 1)
_DTYPES = {(1, 8): "u1", (2, 8): "i1", (1, 16): "u2", (2, 16): "i2", (3, 32): "f4"}
# Far more pixels than any camera has, and 16384 x 16384 pixels in float32; bounds the memory taken by invalid files.
_MAX_SIDE = 1 << 16
_MAX_FRAME_BYTES = 1 << 30
# Plausible pixel sizes of a microscope in angstrom; resolutions of scanners and screens are far outside.
_PIXEL_SIZES = (0.01, 1000.0)
_CM_PER_UNIT = {2: 2.54, 3: 1.0}
# Rows and columns of 8-bit images that hold two 4-bit values per byte, as written by IMOD and read by RELION: half the
# width of a K2 or K3 super-resolution image, in both orientations of the camera.
_PACKED = {(8184, 5760), (11520, 4092), (7420, 3838), (7676, 3710)}


class NoMovieError(FormatError):
    """The file is not a TIFF movie that can be shown as MRC."""


class NoFramesError(DamagedError):
    """The TIFF file is damaged before its first image."""


class TiffFacts(msgspec.Struct, frozen=True):
    """Metadata of a TIFF movie that a listing needs.

    Attributes
    ----------
    shape : tuple
        Frames, rows, and stored columns.
    dtype : str
        Type of a stored pixel, with its byte order.
    packed : bool
        True if a stored pixel contains two 4-bit values, the first in the low half.
    pixel_size : float or None
        Angstrom per pixel.
    """

    shape: tuple[int, int, int]
    dtype: str
    packed: bool
    pixel_size: float | None


@dataclass(frozen=True)
class TiffIndex:
    """A TIFF movie: the layout that all pages share, and the strips of each page."""

    layout: PageLayout
    pages: list[Page]

    @property
    def facts(self) -> TiffFacts:
        """Metadata that a listing needs."""
        layout = self.layout
        shape = len(self.pages), layout.ny, layout.nx
        packed = layout.dtype == np.uint8 and (layout.ny, layout.nx) in _PACKED
        return TiffFacts(shape, layout.dtype.str, packed, layout.pixel_size)


def read_index(source: ByteSource) -> TiffIndex:
    """Index an open TIFF movie.

    Raises
    ------
    NoMovieError
        If the file is not a TIFF, has a single image, or has pages, pixels or codecs that are not supported.
    DamagedError
        If the TIFF is truncated or inconsistent; NoFramesError if it is damaged before its first image.
    """
    name, size = source.name, source.size
    head = source.read(len(MAGICS[0]), 0)
    if head not in MAGICS:
        raise NoMovieError(f"{name}: not a TIFF file; pass a TIFF movie")
    pages: list[Page] = []
    try:
        directories = TiffDirectories(source, head)
        order = "<" if head.startswith(b"II") else ">"
        first: PageLayout | None = None
        for number, directory in enumerate(directories):
            layout = _layout(directories, directory, order, name)
            if first is not None and layout != first:
                raise NoMovieError(
                    f"{name}: not a TIFF movie, image {number} differs from the images before it in size or type"
                )
            first = layout
            pages.append(_page(directories, directory, number, layout, size))
            check_strip_count(layout.strips * len(pages), len(pages), size)
    except BrokenError as error:
        kind = DamagedError if pages else NoFramesError
        raise kind(f"{name}: {error}; copy the file again") from error
    if first is None or len(pages) < 2:
        raise NoMovieError(f"{name}: not a TIFF movie (expected at least 2 images, got {len(pages)})")
    return TiffIndex(first, pages)


def _layout(directories: TiffDirectories, directory: Directory, order: str, name: str) -> PageLayout:
    def one(tag: int, default: int | None = None) -> int:
        return default if default is not None and tag not in directory.entries else directories.one(directory, tag)

    if _OFFSETS not in directory.entries:
        raise NoMovieError(f"{name}: unsupported TIFF layout (expected strips, got tiles)")
    if one(_SAMPLES, 1) != 1:
        raise NoMovieError(f"{name}: unsupported TIFF image (expected 1 value per pixel, got {one(_SAMPLES)})")
    if one(_FILL_ORDER, 1) != 1:
        raise NoMovieError(f"{name}: unsupported TIFF bit order (expected FillOrder 1, got {one(_FILL_ORDER)})")
    if one(_PHOTOMETRIC, 1) not in _INTENSITIES:
        raise NoMovieError(
            f"{name}: unsupported TIFF photometric interpretation (expected 0 or 1, got {one(_PHOTOMETRIC)})"
        )
    kind = _DTYPES.get((one(_FORMAT, 1), one(_BITS, 1)))
    if kind is None:
        raise NoMovieError(f"{name}: unsupported TIFF pixel type ({one(_BITS, 1)} bits, format {one(_FORMAT, 1)})")
    codec = codec_of_tags(one(_COMPRESSION, 1), one(_PREDICTOR, 1))
    if codec is None:
        found = f"compression {one(_COMPRESSION, 1)} and predictor {one(_PREDICTOR, 1)}"
        raise NoMovieError(f"{name}: unsupported TIFF compression (expected none, LZW or deflate, got {found})")
    dtype = np.dtype(order + kind)
    if not suits(codec.predictor, dtype):
        raise NoMovieError(f"{name}: unsupported TIFF predictor ({codec.predictor} with {dtype.name} pixels)")
    ny, nx = one(_HEIGHT), one(_WIDTH)
    if min(ny, nx) < 1:
        raise BrokenError(f"invalid image size ({ny} x {nx})")
    if max(ny, nx) > _MAX_SIDE or ny * nx * dtype.itemsize > _MAX_FRAME_BYTES:
        raise NoMovieError(f"{name}: unsupported frame size ({ny} x {nx} pixels, {dtype.name}), larger than any camera")
    rows = min(one(_ROWS_PER_STRIP, ny), ny)
    if rows < 1:
        raise BrokenError(f"invalid strip height ({rows} rows)")
    return PageLayout(ny, nx, dtype, codec, rows, _pixel_size(directories, directory))


def _page(directories: TiffDirectories, directory: Directory, number: int, layout: PageLayout, size: int) -> Page:
    offsets, byte_counts = (directories.integers(directory, tag) for tag in (_OFFSETS, _BYTE_COUNTS))
    if not len(offsets) == len(byte_counts) == layout.strips:
        raise BrokenError(
            f"invalid strips of frame {number} (expected {layout.strips} offsets and sizes, "
            f"got {len(offsets)} and {len(byte_counts)})"
        )
    if not strips_inside(offsets, byte_counts, size).all():
        raise BrokenError(f"truncated, frame {number} lies beyond the end of the file")
    stored = sum(byte_counts.tolist())
    if stored > min(size, layout.most_stored_bytes):
        raise BrokenError(
            f"invalid size of the strips of frame {number} "
            f"(at most {min(size, layout.most_stored_bytes)} bytes, got {stored})"
        )
    if layout.page_bytes > layout.codec.most_expansion * stored:
        raise BrokenError(f"strips of frame {number} too short for {layout.ny} x {layout.nx} pixels ({stored} bytes)")
    return Page(offsets, byte_counts)


def _pixel_size(directories: TiffDirectories, directory: Directory) -> float | None:
    """Return the angstrom per pixel given by the resolution, or None if it is not plausible for a microscope."""
    resolution = directories.rational(directory, _RESOLUTION)
    unit = directories.one(directory, _RESOLUTION_UNIT) if _RESOLUTION_UNIT in directory.entries else 2
    if not resolution or unit not in _CM_PER_UNIT:
        return None
    pixel_size = ANGSTROM_PER_CM * _CM_PER_UNIT[unit] / resolution
    return pixel_size if _PIXEL_SIZES[0] <= pixel_size <= _PIXEL_SIZES[1] else None
