"""MRC headers, and conversion of frame bytes to values and back; header bytes are preserved.

Format rules: MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015); 4-bit packing (mode 101) as written by SerialEM and
IMOD: low nibble first, (nx + 1) // 2 bytes per row.
"""

import math
import struct
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import FormatError, TruncatedError, UnsupportedError
from cryofs.storage.byte_source import ByteSource

MAIN_HEADER_BYTES = 1024
# Extended headers of real files reach about 1 MB. A much larger size means a damaged header, and is rejected early.
MAX_EXTENDED_HEADER_BYTES = 64 << 20
# 32768 x 32768 pixels in float32, more than any camera has. This limits memory, because frames are decoded whole.
MAX_FRAME_BYTES = 1 << 32
# Largest cell edge that a float32 header field can store.
_MAX_CELL = 3e38
MODE_INT16 = 1
MODE_FLOAT32 = 2
MODE_UINT16 = 6
MODE_4BIT = 101
ByteOrder = Literal["<", ">"]
# Modes of the standard that no camera writes.
_OTHER_MODES = (3, 4, 16)
# The word "IMOD", and the flags of the program that follow it; the lowest flag marks bytes (mode 0) as signed.
_IMOD_STAMP_AT, _IMOD_STAMP, _SIGNED_BYTES = 152, 1146047817, 1
MODE_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", MODE_4BIT: "u1"}


@dataclass(frozen=True)
class MrcHeader:
    """Geometry of an MRC file, and the bytes of its header.

    Attributes
    ----------
    raw : bytes
        Main and extended header: all bytes before the first frame.
    byte_order : str
        ``"<"`` little-endian or ``">"`` big-endian.
    nx, ny, nz, mode : int
        Fields of the header; nz is the number of frames.
    """

    raw: bytes
    byte_order: ByteOrder
    nx: int
    ny: int
    nz: int
    mode: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of frames, rows and columns."""
        return self.nz, self.ny, self.nx

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value in native byte order; uint8 for 4-bit values."""
        return np.dtype(MODE_DTYPES[self.mode])

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Type of the values for statistics and images: `dtype`, or uint8 if IMOD's flag marks bytes as unsigned.

        Archives treat values of mode 0 as signed in any case; their bytes are the same.
        """
        if self.mode != 0:
            return self.dtype
        stamp, flags = struct.unpack_from(self.byte_order + "2i", self.raw, _IMOD_STAMP_AT)
        return np.dtype(np.uint8) if stamp == _IMOD_STAMP and not flags & _SIGNED_BYTES else self.dtype

    @property
    def columns(self) -> int:
        """Number of values per row, including the padding value of an odd row of 4-bit values."""
        return 2 * self.row_bytes if self.mode == MODE_4BIT else self.nx

    @property
    def row_bytes(self) -> int:
        """Size of a row in the file in bytes."""
        return (self.nx + 1) // 2 if self.mode == MODE_4BIT else self.nx * self.dtype.itemsize

    @property
    def frame_bytes(self) -> int:
        """Size of a frame in the file in bytes."""
        return self.ny * self.row_bytes

    @property
    def data_end(self) -> int:
        """Offset of the first byte after the last frame."""
        return len(self.raw) + self.nz * self.frame_bytes

    @property
    def pixel_size(self) -> float | None:
        """Angstrom per pixel along x (cella.x / mx), or None if the header has no valid value."""
        (mx,) = struct.unpack_from(self.byte_order + "i", self.raw, 28)
        (cell_x,) = struct.unpack_from(self.byte_order + "f", self.raw, 40)
        if mx <= 0 or not math.isfinite(cell_x) or cell_x <= 0:
            return None
        return float(cell_x / mx)

    @property
    def extended_type(self) -> str:
        """EXTTYP of the extended header (FEI1, FEI2, SERI, ...), or an empty string if there is no extended header."""
        return "" if len(self.raw) == MAIN_HEADER_BYTES else self.raw[104:108].decode("latin-1").strip("\0 ")


def read_header(source: ByteSource, max_extended: int = MAX_EXTENDED_HEADER_BYTES) -> MrcHeader:
    """Read, check and return the header of an MRC file.

    Parameters
    ----------
    max_extended : int
        Maximum valid size of the extended header in bytes.

    Raises
    ------
    FormatError
        The file is not an MRC file, has an unsupported mode or frame size, or is shorter than the header specifies. All
        checks precede large allocations.
    """
    name, size = source.name, source.size
    main = source.read(MAIN_HEADER_BYTES, 0)
    if len(main) < MAIN_HEADER_BYTES:
        raise FormatError(
            f"{name}: file too short for an MRC header ({len(main)} bytes); copy the file again or remove it"
        )
    problems = {}
    for byte_order in _byte_orders(main):
        try:
            nx, ny, nz, mode, nsymbt = _fields(main, byte_order, name, max_extended)
            header = MrcHeader(main, byte_order, nx, ny, nz, mode)
            missing = nsymbt + header.data_end - size
            if missing > 0:
                raise TruncatedError(
                    f"{name}: truncated, {missing} bytes missing (the header specifies "
                    f"{nz} frames of {ny} x {nx}, mode {mode}); copy the file again or remove it"
                )
            if header.frame_bytes > MAX_FRAME_BYTES:
                raise UnsupportedError(
                    f"{name}: unsupported frame size (at most {MAX_FRAME_BYTES} bytes, got {ny} x {nx} pixels of "
                    f"{header.frame_bytes} bytes); keep this file outside the archive"
                )
        except FormatError as error:
            problems[byte_order] = error
            continue
        extended = source.read(nsymbt, MAIN_HEADER_BYTES)
        if len(extended) < nsymbt:
            text = f"{name}: truncated extended header (expected {nsymbt} bytes, got {len(extended)})"
            raise FormatError(f"{text}; retry once the file is complete")
        return MrcHeader(main + extended, byte_order, nx, ny, nz, mode)
    raise next(iter(problems.values()))


def _byte_orders(main: bytes) -> tuple[ByteOrder, ByteOrder]:
    """Return both byte orders, the more likely one first, judging by the machine stamp, or else by a small mode."""
    if main[212:213] == b"\x11":
        return ">", "<"
    if main[212:213] == b"\x44":
        return "<", ">"
    return ("<", ">") if struct.unpack_from("<I", main, 12)[0] <= MODE_4BIT else (">", "<")


def _fields(main: bytes, byte_order: ByteOrder, name: str, max_extended: int) -> tuple[int, int, int, int, int]:
    nx, ny, nz, mode = struct.unpack_from(byte_order + "4i", main, 0)
    (nsymbt,) = struct.unpack_from(byte_order + "i", main, 92)
    if min(nx, ny, nz) < 1:
        raise FormatError(
            f"{name}: not an MRC movie (invalid header: {nz} frames of {ny} x {nx}); copy the file again or remove it"
        )
    if mode not in MODE_DTYPES:
        known = ", ".join(map(str, MODE_DTYPES))
        kind = UnsupportedError if mode in _OTHER_MODES else FormatError
        raise kind(f"{name}: unsupported MRC mode {mode} (expected one of {known}); keep this file outside the archive")
    if not 0 <= nsymbt <= max_extended:
        raise FormatError(
            f"{name}: invalid size of the extended header (expected 0 to {max_extended} bytes, got {nsymbt}); "
            "copy the file again or remove it"
        )
    return nx, ny, nz, mode, nsymbt


def frame_values(raw: NDArray[np.uint8], header: MrcHeader) -> NDArray[Any]:
    """Return the values of whole rows of a frame.

    Parameters
    ----------
    raw : ndarray of uint8
        Bytes of one or more whole rows as stored in the file.

    Returns
    -------
    ndarray, shape (rows, nx)
        Values in native byte order; a view of `raw` if the file has that order. In mode 101, rows have an even number
        of columns, which include the padding nibble of an odd nx, so that no bit is lost.
    """
    if header.mode == MODE_4BIT:
        packed = raw.reshape(-1, header.row_bytes)
        values = np.empty((len(packed), 2 * header.row_bytes), np.uint8)
        np.bitwise_and(packed, 15, out=values[:, 0::2])
        np.right_shift(packed, 4, out=values[:, 1::2])
        return values
    stored = raw.view(header.dtype.newbyteorder(header.byte_order)).reshape(-1, header.nx)
    return stored.astype(header.dtype, copy=False)


def shown_values(raw: NDArray[np.uint8], header: MrcHeader) -> NDArray[Any]:
    """Return the values of whole rows of a frame for statistics and images, shape (rows, nx), without padding."""
    return frame_values(raw, header)[:, : header.nx].view(header.value_dtype)


def frame_raw(values: NDArray[Any], header: MrcHeader) -> NDArray[np.uint8]:
    """Return the bytes of whole rows (uint8, shape (n,)) from the result of `frame_values`, as a view if possible."""
    if header.mode == MODE_4BIT:
        packed: NDArray[np.uint8] = values[:, 0::2] | (values[:, 1::2] << 4)
        return packed.reshape(-1)
    stored = values.astype(header.dtype.newbyteorder(header.byte_order), copy=False)
    return stored.reshape(-1).view(np.uint8)


def has_map_word(head: bytes) -> bool:
    """Return True if the first bytes of a file contain the word "MAP ", which marks MRC files since 2000."""
    return head[208:211] == b"MAP"


def new_header(shape: tuple[int, int, int], mode: int, pixel_size: float | None, label: str) -> bytes:
    """Return the header of a new little-endian MRC file without extended header.

    Parameters
    ----------
    shape : tuple
        Number of frames, rows and columns of a stack of images (not a volume).
    pixel_size : float or None
        Angstrom per pixel; None is written as 1, because the header cannot mark it as unknown.
    label : str
        First of the ten labels.
    """
    frames, ny, nx = shape
    main = bytearray(MAIN_HEADER_BYTES)
    struct.pack_into("<4i", main, 0, nx, ny, frames, mode)
    # mz is 1 for a stack of images (MRC2014)
    struct.pack_into("<3i", main, 28, nx, ny, 1)
    step = pixel_size if pixel_size and pixel_size * max(ny, nx) < _MAX_CELL else 1.0
    struct.pack_into("<6f", main, 40, nx * step, ny * step, step, 90.0, 90.0, 90.0)
    struct.pack_into("<3i", main, 64, 1, 2, 3)
    struct.pack_into("<i", main, 108, 20140)
    main[208:216] = b"MAP \x44\x44\x00\x00"
    _clear_statistics(main, "<")
    struct.pack_into("<i", main, 220, 1)
    main[224:304] = label.encode("ascii", "replace")[:80].ljust(80)
    return bytes(main)


def made_header(shape: tuple[int, int, int], mode: int, pixel_size: float | None, label: str) -> MrcHeader:
    """Return the parsed header of a new MRC file; see `new_header` for the parameters."""
    frames, ny, nx = shape
    return MrcHeader(new_header(shape, mode, pixel_size, label), "<", nx, ny, frames, mode)


def with_extended_header(main: bytes, kind: str, extended: bytes) -> bytes:
    """Return a little-endian main header followed by an extended header of the given EXTTYP."""
    header = bytearray(main)
    struct.pack_into("<i", header, 92, len(extended))
    header[104:108] = kind.encode("ascii")
    return bytes(header) + extended


def with_mode(header: MrcHeader, mode: int) -> MrcHeader:
    """Return a copy of a header for frames of another mode, with statistics marked as not determined."""
    raw = bytearray(header.raw)
    struct.pack_into(header.byte_order + "i", raw, 12, mode)
    _clear_statistics(raw, header.byte_order)
    stamp, flags = struct.unpack_from(header.byte_order + "2i", raw, _IMOD_STAMP_AT)
    if mode == 0 and stamp == _IMOD_STAMP:
        struct.pack_into(header.byte_order + "i", raw, _IMOD_STAMP_AT + 4, flags | _SIGNED_BYTES)
    return replace(header, raw=bytes(raw), mode=mode)


def _clear_statistics(raw: bytearray, byte_order: ByteOrder) -> None:
    """Mark dmin, dmax, dmean and rms as not determined (MRC2014: dmax < dmin, dmean below both, rms < 0)."""
    struct.pack_into(byte_order + "3f", raw, 76, 0.0, -1.0, -2.0)
    struct.pack_into(byte_order + "f", raw, 216, -1.0)


@dataclass(frozen=True)
class Layout:
    """Sizes of the parts of an MRC file: header, frames of equal size, and trailing bytes."""

    header_bytes: int
    frames: int
    frame_bytes: int
    total_bytes: int

    @classmethod
    def of(cls, header: MrcHeader) -> Self:
        """Return the layout of a file without trailing bytes."""
        return cls(len(header.raw), header.nz, header.frame_bytes, header.data_end)

    @property
    def data_end(self) -> int:
        """Offset of the first trailing byte."""
        return self.header_bytes + self.frames * self.frame_bytes
