"""Read the layout and location of all pages of a TIFF movie of another program, without decoding pixels.

All pages must have the same size and pixel type. They may differ in strips, tiles, codec, predictor and resolution.
"""

from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.registry import compressions
from cryofs.codecs.uncompressed import Uncompressed
from cryofs.errors import DamagedError
from cryofs.formats.tiff_directories import (
    MAGICS,
    BrokenError,
    Directory,
    TiffDirectories,
    check_strip_count,
    strips_inside,
)
from cryofs.formats.tiff_layout import NoMovieError, TiffLayout, read_layout
from cryofs.formats.tiff_pages import ANGSTROM_PER_CM, Page, PageLayout
from cryofs.storage.byte_source import ByteSource
from cryofs.storage.checksums import xxh3_checksum

_DESCRIPTION, _RESOLUTION, _RESOLUTION_UNIT = 270, 282, 296
# Tags of strips or tiles; libtiff accepts either pair of tags for both.
_OFFSETS, _BYTE_COUNTS = (273, 324), (279, 325)
_HEAD_BYTES = 8
# Plausible pixel sizes of a microscope in angstrom, far from the resolutions of scanners and screens.
_PIXEL_SIZES = (0.01, 1000.0)
_CM_PER_UNIT = {2: 2.54, 3: 1.0}
# Rows and columns of 8-bit images with two 4-bit values in each byte: half the width of a super-resolution image, in
# both orientations of the camera. First those that RELION recognizes, K3 and trimmed K2, with rows and columns in
# either order; then untrimmed K2, as in IMOD.
_PACKED = {
    *((8184, 5760), (5760, 8184), (11520, 4092), (4092, 11520)),
    *((7420, 3838), (3838, 7420), (7676, 3710), (3710, 7676)),
    *((7424, 3840), (7680, 3712)),
}
_PACKED_TITLE = b"4 bits packed"
_MAX_DESCRIPTION_BYTES = 1 << 20
# Sampled pixels by which uncompressed movies of the same size are distinguished: frames, and bytes of each.
_SAMPLES, _SAMPLE_BYTES = 16, 512


class NoFramesError(DamagedError):
    """The TIFF file is damaged before its first image."""


class TiffFacts(msgspec.Struct, frozen=True):
    """Metadata of a TIFF movie that listings need.

    Attributes
    ----------
    shape : tuple
        Number of frames, rows and stored columns.
    dtype : str
        Type of a stored pixel, with its byte order.
    packed : bool
        True if a stored pixel contains two 4-bit values.
    pixel_size : float or None
        Angstrom per pixel.
    odd : bool
        True if the last stored column contains only one 4-bit value.
    """

    shape: tuple[int, int, int]
    dtype: str
    packed: bool
    pixel_size: float | None
    odd: bool = False


@dataclass(frozen=True)
class TiffIndex:
    """Layout and location of each page of a TIFF movie.

    Attributes
    ----------
    packed : bool
        True if a stored pixel contains two 4-bit values.
    has_sizes : bool
        True if the file contains the sizes of all strips.
    """

    layouts: list[TiffLayout]
    pages: list[Page]
    packed: bool
    has_sizes: bool

    @property
    def layout(self) -> PageLayout:
        """Layout of the first page; all pages have the same size and pixel type."""
        return self.layouts[0].page

    @cached_property
    def row_layout(self) -> PageLayout | None:
        """Layout with the number of rows per strip that all pages have, or None if they differ."""
        rows = {layout.page.rows_per_strip for layout in self.layouts}
        return self.layout if len(rows) == 1 else None

    @property
    def recorded_layout(self) -> PageLayout | None:
        """Layout of all pages, or None if a record cannot describe them."""
        layout = self.layouts[0]
        is_recordable = layout.is_plain and self.layout.codec.compression in compressions()
        is_recordable &= self.layout.dtype.byteorder != ">" and self.has_sizes and not self.packed
        return self.layout if is_recordable and all(other == layout for other in self.layouts) else None

    @property
    def facts(self) -> TiffFacts:
        """Metadata that listings need."""
        layout = self.layout
        shape = len(self.pages), layout.ny, layout.nx
        odd = self.layouts[0].bits < 8 and self.layouts[0].columns % 2 == 1
        return TiffFacts(shape, layout.dtype.str, self.packed, layout.pixel_size, odd)


def read_index(source: ByteSource) -> TiffIndex:
    """Read the index of an open TIFF movie.

    Raises
    ------
    NoMovieError
        The file is not a TIFF file, has only one image, or has unsupported pages, pixels or codecs.
    DamagedError
        The file is truncated, or its directories are inconsistent.
    NoFramesError
        The file is damaged before the first image.
    """
    name, size = source.name, source.size
    head = source.read(len(MAGICS[0]), 0)
    if head not in MAGICS:
        raise NoMovieError(f"{name}: not a TIFF file; pass a TIFF movie")
    pages: list[Page] = []
    layouts: list[TiffLayout] = []
    # equal layouts share one object, to save memory
    known: dict[TiffLayout, TiffLayout] = {}
    packed, has_sizes, segments = False, True, 0
    pixel_size: float | None = None
    try:
        directories = TiffDirectories(source, head)
        order = "<" if head.startswith(b"II") else ">"
        for number, directory in enumerate(directories):
            if number == 0:
                pixel_size = _pixel_size(directories, directory)
            layout = read_layout(directories, directory, order, name, pixel_size)
            layout = known.setdefault(layout, layout)
            if number == 0:
                packed = _is_packed(directories, directory, layout)
            else:
                _check_same(name, number, layouts[0], layout)
            page, is_given = _page(directories, directory, number, layout, size)
            pages.append(page)
            layouts.append(layout)
            has_sizes &= is_given
            segments += layout.segments
            check_strip_count(segments, len(pages), size)
    except BrokenError as error:
        kind = DamagedError if pages else NoFramesError
        raise kind(f"{name}: {error}; copy the file again") from error
    if len(pages) < 2:
        raise NoMovieError(f"{name}: not a TIFF movie (expected at least 2 images, got {len(pages)})")
    return TiffIndex(layouts, pages, packed, has_sizes)


def content_digest(source: ByteSource, index: TiffIndex) -> str:
    """Return a digest of what distinguishes a TIFF movie from others: its directories, and some pixels.

    The sizes of compressed strips differ between movies. Uncompressed ones have the same sizes, so some of their bytes
    are read.
    """
    kinds = {layout: number for number, layout in enumerate(dict.fromkeys(index.layouts))}
    parts = [repr((list(kinds), [kinds[layout] for layout in index.layouts], index.packed)).encode()]
    for page in index.pages:
        parts += [page.offsets.tobytes(), page.byte_counts.tobytes()]
    for number in range(0, len(index.pages), -(-len(index.pages) // _SAMPLES)):
        offsets = index.pages[number].offsets
        if isinstance(index.layouts[number].page.codec, Uncompressed):
            parts.append(source.read(_SAMPLE_BYTES, int(offsets[len(offsets) // 2])))
    return xxh3_checksum(b"\0".join(parts))


def _check_same(name: str, number: int, first: TiffLayout, layout: TiffLayout) -> None:
    """Raise NoMovieError if an image differs from the first one in size or pixel type."""
    expected, found = ((f"{one.page.ny} x {one.columns}", one.type_name) for one in (first, layout))
    for what, wanted, got in zip(("size", "pixel type"), expected, found, strict=True):
        if wanted != got:
            text = f"image {number} differs from the first image in {what} (expected {wanted}, got {got})"
            raise NoMovieError(f"{name}: not a TIFF movie, {text}")


def _page(
    directories: TiffDirectories, directory: Directory, number: int, layout: TiffLayout, size: int
) -> tuple[Page, bool]:
    """Return the location of a page, and whether the file contains the sizes of its segments."""
    segments = layout.segments
    offsets = directories.integers(directory, _tag_of(directory, _OFFSETS))
    sizes_tag = _tag_of(directory, _BYTE_COUNTS)
    given = directories.integers(directory, sizes_tag) if sizes_tag in directory.entries else None
    is_plain = isinstance(layout.page.codec, Uncompressed)
    if given is None and not is_plain and segments > 1:
        raise BrokenError(f"missing sizes of the compressed strips of frame {number} (tag {sizes_tag})")
    # surplus strips are ignored, as in libtiff
    offsets, counts = offsets[:segments], (np.zeros(segments, np.uint64) if given is None else given[:segments])
    if not len(offsets) == len(counts) == segments:
        raise BrokenError(
            f"invalid strips of frame {number} (expected {segments} offsets and sizes, "
            f"got {len(offsets)} and {len(counts)})"
        )
    if int(offsets.min()) < _HEAD_BYTES:
        raise BrokenError(f"invalid strips of frame {number} (offset {int(offsets.min())} inside the file header)")
    if is_plain:
        byte_counts = _sizes_of_pixels(layout, counts)
    elif segments == 1 and counts[0] == 0:
        # a single compressed stream marks its own end
        byte_counts = np.array([min(max(size - int(offsets[0]), 0), layout.most_stored_bytes)], np.uint64)
    else:
        byte_counts = counts
    if not strips_inside(offsets, byte_counts, size).all():
        raise BrokenError(f"truncated, frame {number} is beyond the end of the file")
    stored, most = sum(byte_counts.tolist()), min(size, layout.most_stored_bytes)
    if stored > most:
        raise BrokenError(f"invalid size of the strips of frame {number} (at most {most} bytes, got {stored})")
    if layout.page_bytes > layout.page.codec.most_expansion * stored:
        text = f"strips of frame {number} too short for {layout.page.ny} x {layout.page.nx} pixels ({stored} bytes)"
        raise BrokenError(text)
    is_given = given is not None and np.array_equal(given, byte_counts)
    return Page(offsets, byte_counts), is_given


def _tag_of(directory: Directory, tags: tuple[int, int]) -> int:
    """Return the first of two tags that a directory contains, or the first of both if it contains neither."""
    return next((tag for tag in tags if tag in directory.entries), tags[0])


def _sizes_of_pixels(layout: TiffLayout, given: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the sizes of uncompressed segments: the size of the pixels, or the size in the file if that is smaller.

    As in libtiff, a size of 0 and the size of a single segment are replaced by the size of the pixels.
    """
    sizes = np.full(layout.segments, layout.segment_bytes, np.uint64)
    sizes[-1] = layout.last_bytes
    if layout.segments == 1:
        return sizes
    return np.where(given == 0, sizes, np.minimum(given, sizes))


def _is_packed(directories: TiffDirectories, directory: Directory, layout: TiffLayout) -> bool:
    """Return True if BitsPerSample, the description or the image size indicates two 4-bit values per stored pixel."""
    if layout.bits < 8:
        return True
    if layout.page.dtype != np.uint8:
        return False
    if _DESCRIPTION in directory.entries:
        titles = directories.text(directory, _DESCRIPTION, _MAX_DESCRIPTION_BYTES).split(b"\0")[0].splitlines()
        # a program that processed the movie later may have added a title: "name: ..."
        is_processed = any(b":" in title.split(b" ")[0] for title in titles[1:])
        if any(_PACKED_TITLE in title for title in titles) and not is_processed:
            return True
    return (layout.page.ny, layout.page.nx) in _PACKED


def _pixel_size(directories: TiffDirectories, directory: Directory) -> float | None:
    """Return the pixel size in angstrom from the resolution, or None if it is implausible for a microscope."""
    resolution = directories.rational(directory, _RESOLUTION)
    unit = directories.one(directory, _RESOLUTION_UNIT) if _RESOLUTION_UNIT in directory.entries else 2
    if not resolution or unit not in _CM_PER_UNIT:
        return None
    pixel_size = ANGSTROM_PER_CM * _CM_PER_UNIT[unit] / resolution
    return pixel_size if _PIXEL_SIZES[0] <= pixel_size <= _PIXEL_SIZES[1] else None
