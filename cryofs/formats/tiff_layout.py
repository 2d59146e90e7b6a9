"""Read the layout of a page of a TIFF movie of another program from its tags.

Supported layouts are those that libtiff decodes and RELION reads, and in addition tiles and 4-bit values, which RELION
rejects.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cryofs.codecs.codec import Codec
from cryofs.codecs.predictor import suits
from cryofs.codecs.registry import codec_of_tags, readable
from cryofs.errors import FormatError
from cryofs.formats.tiff_directories import BrokenError, Directory, TiffDirectories
from cryofs.formats.tiff_pages import STRIP_OVERHEAD, PageLayout

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_PHOTOMETRIC, _FILL_ORDER = 262, 266
_SAMPLES, _ROWS_PER_STRIP = 277, 278
_PREDICTOR, _COLOUR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _FORMAT = 317, 320, 322, 323, 339

# WhiteIsZero and BlackIsZero. Like other readers of movies, cryofs ignores the difference, and colour maps.
_INTENSITIES = (0, 1)
_PALETTE = 3
_HIGHEST_FIRST, _LOWEST_FIRST = 1, 2
_DTYPES = {(1, 4): "u1", (1, 8): "u1", (2, 8): "i1", (1, 16): "u2", (2, 16): "i2", (3, 32): "f4"}
# Maximum sizes of frames: far more pixels than any camera has, and 16384 x 16384 pixels in float32; they limit memory.
_MAX_SIDE = 1 << 16
_MAX_FRAME_BYTES = 1 << 30
# A tile may be larger than its image, up to these limits.
_MAX_TILE_BYTES = 1 << 24


class NoMovieError(FormatError):
    """The file is not a TIFF movie that mounts can show as MRC."""


@dataclass(frozen=True)
class TiffLayout:
    """Layout of a page that consists of strips or of rows of tiles.

    Attributes
    ----------
    page : PageLayout
        Layout of the decoded pixels. A row of tiles counts as a strip, and two 4-bit values count as a pixel.
    bits : int
        BitsPerSample. The first of two 4-bit values is in the high half of the byte.
    columns : int
        ImageWidth.
    tile_columns : int or None
        Stored columns of a tile; None for strips.
    lowest_first : bool
        True if the bits of each stored byte are in reverse order (FillOrder 2).
    """

    page: PageLayout
    bits: int
    columns: int
    tile_columns: int | None = None
    lowest_first: bool = False

    @property
    def is_plain(self) -> bool:
        """True if `page` describes the stored data completely."""
        return self.bits == 8 * self.page.dtype.itemsize and self.tile_columns is None and not self.lowest_first

    @cached_property
    def across(self) -> int:
        """Number of segments (strips or tiles) in a row of segments."""
        return 1 if self.tile_columns is None else -(-self.page.nx // self.tile_columns)

    @property
    def segments(self) -> int:
        """Number of segments in a page."""
        return self.page.strips * self.across

    def segments_of(self, strips: range) -> range:
        """Return the numbers of all segments in consecutive rows of segments."""
        return range(strips.start * self.across, strips.stop * self.across)

    @cached_property
    def segment_bytes(self) -> int:
        """Decoded size in bytes of a tile, or of any strip except the last."""
        page = self.page
        return page.rows_per_strip * (self.tile_columns or page.nx) * page.dtype.itemsize

    @property
    def last_bytes(self) -> int:
        """Decoded size in bytes of the last segment; the last strip ends with the page, but every tile is complete."""
        return self.page_bytes - (self.segments - 1) * self.segment_bytes

    @property
    def page_bytes(self) -> int:
        """Decoded size of all segments in bytes."""
        return self.page.page_bytes if self.tile_columns is None else self.segments * self.segment_bytes

    @property
    def most_stored_bytes(self) -> int:
        """Maximum encoded size of a page in bytes; see `PageLayout.most_stored_bytes`."""
        return 2 * self.page_bytes + STRIP_OVERHEAD * self.segments

    @property
    def type_name(self) -> str:
        """Name of the pixel type, for messages."""
        return "4-bit values" if self.bits == 4 else self.page.dtype.name


def read_layout(
    directories: TiffDirectories, directory: Directory, order: str, name: str, pixel_size: float | None
) -> TiffLayout:
    """Return the layout of a page that a directory describes.

    Parameters
    ----------
    order : str
        Byte order of the file, ``"<"`` or ``">"``.

    Raises
    ------
    NoMovieError
        The image is not a frame of a movie, or has an unsupported layout.
    BrokenError
        A tag is invalid.
    """
    tags = _Tags(directories, directory)
    _check_intensities(tags, name)
    bits, dtype, codec = _coding(tags, order, name)
    fill_order = tags.one(_FILL_ORDER, _HIGHEST_FIRST)
    if fill_order not in (_HIGHEST_FIRST, _LOWEST_FIRST):
        raise NoMovieError(f"{name}: unsupported TIFF bit order (expected FillOrder 1 or 2, got {fill_order})")
    ny, columns = tags.one(_HEIGHT), tags.one(_WIDTH)
    if min(ny, columns) < 1:
        raise BrokenError(f"invalid image size ({ny} x {columns})")
    nx = _stored_columns(columns, bits)
    if max(ny, columns) > _MAX_SIDE or ny * nx * dtype.itemsize > _MAX_FRAME_BYTES:
        text = f"unsupported frame size, larger than any camera ({ny} x {columns} pixels, {dtype.name})"
        raise NoMovieError(f"{name}: {text}")
    is_tiled = _TILE_WIDTH in directory.entries
    rows = tags.one(_TILE_HEIGHT) if is_tiled else min(tags.one(_ROWS_PER_STRIP, ny), ny)
    if rows < 1:
        raise BrokenError(f"invalid height of strips or tiles ({rows} rows)")
    tile_columns = _tile_columns(tags.one(_TILE_WIDTH), bits) if is_tiled else None
    page = PageLayout(ny, nx, dtype, codec, rows, pixel_size)
    layout = TiffLayout(page, bits, columns, tile_columns, fill_order == _LOWEST_FIRST)
    if layout.segment_bytes > max(_MAX_TILE_BYTES, 4 * page.page_bytes) or layout.page_bytes > _MAX_FRAME_BYTES:
        raise BrokenError(f"invalid tile size ({rows} x {tile_columns} for {ny} x {columns} pixels)")
    return layout


class _Tags:
    """The integer tags of a directory, with defaults for missing tags."""

    def __init__(self, directories: TiffDirectories, directory: Directory):
        self._directories = directories
        self._directory = directory

    def has(self, tag: int) -> bool:
        return tag in self._directory.entries

    def one(self, tag: int, default: int | None = None) -> int:
        return default if default is not None and not self.has(tag) else self._directories.one(self._directory, tag)


def _check_intensities(tags: _Tags, name: str) -> None:
    """Raise NoMovieError unless an image has one intensity per pixel."""
    if (samples := tags.one(_SAMPLES, 1)) != 1:
        raise NoMovieError(f"{name}: unsupported TIFF image (expected 1 value per pixel, got {samples})")
    photometric = tags.one(_PHOTOMETRIC, 1)
    if photometric not in _INTENSITIES and not (photometric == _PALETTE and tags.has(_COLOUR_MAP)):
        raise NoMovieError(f"{name}: unsupported TIFF photometric interpretation (expected 0 or 1, got {photometric})")


def _coding(tags: _Tags, order: str, name: str) -> tuple[int, np.dtype[Any], Codec]:
    """Return BitsPerSample, and the type and codec of the stored pixels."""
    bits, sample_format = tags.one(_BITS, 1), tags.one(_FORMAT, 1)
    kind = _DTYPES.get((sample_format, bits))
    if kind is None:
        raise NoMovieError(f"{name}: unsupported TIFF pixel type ({bits} bits, format {sample_format})")
    compression, predictor = tags.one(_COMPRESSION, 1), tags.one(_PREDICTOR, 1)
    codec = codec_of_tags(compression, predictor)
    if codec is None:
        expected, found = ", ".join(readable()), f"compression {compression} and predictor {predictor}"
        raise NoMovieError(f"{name}: unsupported TIFF compression (expected {expected}, got {found})")
    dtype = np.dtype(order + kind)
    if not suits(codec.predictor, dtype) or (bits < 8 and codec.predictor != "none"):
        pixels = dtype.name if bits >= 8 else f"{bits}-bit"
        raise NoMovieError(f"{name}: unsupported TIFF predictor ({codec.predictor} for {pixels} pixels)")
    return bits, dtype, codec


def _stored_columns(columns: int, bits: int) -> int:
    return -(-columns * bits // 8) if bits < 8 else columns


def _tile_columns(columns: int, bits: int) -> int:
    if columns < 1 or columns * bits % 8:
        raise BrokenError(f"invalid tile width ({columns} columns)")
    return _stored_columns(columns, bits)
