"""MRC files: header geometry, frame bytes <-> values. The header stays bytes; nothing rewrites it.

Format rules: MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015); 4-bit packing (mode 101) as written by SerialEM and
IMOD: low nibble first, (nx + 1) // 2 bytes a row.
"""

import math
import struct
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import FormatError, UnsupportedError
from cryofs.storage.byte_source import ByteSource

MAIN_HEADER_BYTES = 1024
# Real extended headers reach about 1 MB; a claim far beyond that is a damaged header, and is refused before
# anything of that size is read.
MAX_EXTENDED_HEADER_BYTES = 64 << 20
# 32768 x 32768 pixels in float32, as no camera has them; a frame is decoded whole, so larger ones only take memory.
MAX_FRAME_BYTES = 1 << 32
# Longest cell edge that a float32 of the header holds.
_MAX_CELL = 3e38
MODE_FLOAT32 = 2
MODE_4BIT = 101
ByteOrder = Literal["<", ">"]
# Modes of the standard that no camera writes.
_OTHER_MODES = (3, 4, 16)
MODE_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", MODE_4BIT: "u1"}


@dataclass(frozen=True)
class MrcHeader:
    """What a reader needs of an MRC header, and the header itself.

    Attributes
    ----------
    raw : bytes
        Main and extended header, all bytes before the first frame.
    byte_order : str
        ``"<"`` little-endian or ``">"`` big-endian.
    nx, ny, nz, mode : int
        Fields of the header; for a movie nz is the number of frames.
    """

    raw: bytes
    byte_order: ByteOrder
    nx: int
    ny: int
    nz: int
    mode: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return self.nz, self.ny, self.nx

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value in native byte order; a 4-bit value takes a uint8."""
        return np.dtype(MODE_DTYPES[self.mode])

    @property
    def columns(self) -> int:
        """Values of a row with the padding of an odd row of 4-bit values."""
        return 2 * self.row_bytes if self.mode == MODE_4BIT else self.nx

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        return (self.nx + 1) // 2 if self.mode == MODE_4BIT else self.nx * self.dtype.itemsize

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in the file."""
        return self.ny * self.row_bytes

    @property
    def data_end(self) -> int:
        """Offset of the first byte behind the last frame."""
        return len(self.raw) + self.nz * self.frame_bytes

    @property
    def pixel_size(self) -> float | None:
        """Angstrom per pixel along x (cella.x / mx), None where the header does not say."""
        (mx,) = struct.unpack_from(self.byte_order + "i", self.raw, 28)
        (cell_x,) = struct.unpack_from(self.byte_order + "f", self.raw, 40)
        if mx <= 0 or not math.isfinite(cell_x) or cell_x <= 0:
            return None
        return float(cell_x / mx)

    @property
    def extended_type(self) -> str:
        """EXTTYP of the extended header (FEI1, FEI2, SERI ...), empty where there is none."""
        return "" if len(self.raw) == MAIN_HEADER_BYTES else self.raw[104:108].decode("latin-1").strip("\0 ")


def read_header(source: ByteSource, max_extended: int = MAX_EXTENDED_HEADER_BYTES) -> MrcHeader:
    """Read and check the header of an MRC file.

    Parameters
    ----------
    max_extended : int
        Longest extended header that is not absurd.

    Raises
    ------
    FormatError
        No MRC file, an unsupported mode, absurdly large frames, or fewer bytes than the header promises. Nothing large
        is allocated before.
    """
    name, size = source.name, source.size
    main = source.read(MAIN_HEADER_BYTES, 0)
    if len(main) < MAIN_HEADER_BYTES:
        raise FormatError(
            f"{name}: {len(main)} bytes are too few for an MRC header; truncated or no MRC; copy it again or remove it"
        )
    problems = {}
    for byte_order in _byte_orders(main):
        try:
            nx, ny, nz, mode, nsymbt = _fields(main, byte_order, name, max_extended)
            header = MrcHeader(main, byte_order, nx, ny, nz, mode)
            missing = nsymbt + header.data_end - size
            if missing > 0:
                raise FormatError(
                    f"{name}: truncated, {missing} bytes fewer than its header promises "
                    f"({nz} frames of {ny} x {nx}, mode {mode}); copy it again or remove it"
                )
            if header.frame_bytes > MAX_FRAME_BYTES:
                raise UnsupportedError(
                    f"{name}: frames of {ny} x {nx}, {header.frame_bytes} bytes each, are larger than those of any "
                    "camera; keep this file outside the archive"
                )
        except FormatError as error:
            problems[byte_order] = error
            continue
        extended = source.read(nsymbt, MAIN_HEADER_BYTES)
        if len(extended) < nsymbt:
            raise FormatError(f"{name}: the extended header ends early; the file is shrinking or unreadable")
        return MrcHeader(main + extended, byte_order, nx, ny, nz, mode)
    raise next(iter(problems.values()))


def _byte_orders(main: bytes) -> tuple[ByteOrder, ByteOrder]:
    """Byte orders to try, the likelier first: by the machine stamp, else by the mode, which is a small number."""
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
            f"{name}: no MRC movie, its header says {nz} frames of {ny} x {nx}; copy it again or remove it"
        )
    if mode not in MODE_DTYPES:
        known = ", ".join(map(str, MODE_DTYPES))
        kind = UnsupportedError if mode in _OTHER_MODES else FormatError
        raise kind(f"{name}: MRC mode {mode} is not supported ({known} are); keep this file outside the archive")
    if not 0 <= nsymbt <= max_extended:
        raise FormatError(
            f"{name}: an extended header of {nsymbt} bytes is absurd, the header is damaged; copy it again or remove it"
        )
    return nx, ny, nz, mode, nsymbt


def frame_values(raw: NDArray[np.uint8], header: MrcHeader) -> NDArray[Any]:
    """Values of whole rows of a frame.

    Parameters
    ----------
    raw : ndarray of uint8
        Bytes of one or more whole rows as the file holds them.

    Returns
    -------
    ndarray, shape (rows, nx)
        In native byte order; a view where the file already is. For mode 101 the row has an even number of columns, the
        padding nibble of an odd nx included, so that no bit is lost.
    """
    if header.mode == MODE_4BIT:
        packed = raw.reshape(-1, header.row_bytes)
        values = np.empty((len(packed), 2 * header.row_bytes), np.uint8)
        np.bitwise_and(packed, 15, out=values[:, 0::2])
        np.right_shift(packed, 4, out=values[:, 1::2])
        return values
    stored = raw.view(header.dtype.newbyteorder(header.byte_order)).reshape(-1, header.nx)
    return stored.astype(header.dtype, copy=False)


def frame_raw(values: NDArray[Any], header: MrcHeader) -> NDArray[np.uint8]:
    """Bytes of whole rows, the inverse of `frame_values`; shares memory with `values` where it can."""
    if header.mode == MODE_4BIT:
        packed: NDArray[np.uint8] = values[:, 0::2] | (values[:, 1::2] << 4)
        return packed.reshape(-1)
    stored = values.astype(header.dtype.newbyteorder(header.byte_order), copy=False)
    return stored.reshape(-1).view(np.uint8)


def new_header(shape: tuple[int, int, int], mode: int, pixel_size: float | None, label: str) -> bytes:
    """Header of a new MRC file, little-endian, without extended header.

    Parameters
    ----------
    shape : tuple
        Frames, rows, columns; a stack of images, not a volume.
    pixel_size : float or None
        Angstrom; unknown ones are written as 1, as a header has no other way.
    label : str
        First of its ten labels.
    """
    frames, ny, nx = shape
    main = bytearray(MAIN_HEADER_BYTES)
    struct.pack_into("<4i", main, 0, nx, ny, frames, mode)
    # of a stack of images, mz is 1 (MRC2014)
    struct.pack_into("<3i", main, 28, nx, ny, 1)
    step = pixel_size if pixel_size and pixel_size * max(ny, nx) < _MAX_CELL else 1.0
    struct.pack_into("<6f", main, 40, nx * step, ny * step, step, 90.0, 90.0, 90.0)
    struct.pack_into("<3i", main, 64, 1, 2, 3)
    struct.pack_into("<i", main, 108, 20140)
    main[208:216] = b"MAP \x44\x44\x00\x00"
    _forget_statistics(main, "<")
    struct.pack_into("<i", main, 220, 1)
    main[224:304] = label.encode("ascii", "replace")[:80].ljust(80)
    return bytes(main)


def with_extended_header(main: bytes, kind: str, extended: bytes) -> bytes:
    """A little-endian main header, followed by an extended one of a four-letter kind."""
    header = bytearray(main)
    struct.pack_into("<i", header, 92, len(extended))
    header[104:108] = kind.encode("ascii")
    return bytes(header) + extended


def with_mode(header: MrcHeader, mode: int) -> MrcHeader:
    """The same header for frames of another mode, whose statistics are not determined."""
    raw = bytearray(header.raw)
    struct.pack_into(header.byte_order + "i", raw, 12, mode)
    _forget_statistics(raw, header.byte_order)
    return replace(header, raw=bytes(raw), mode=mode)


def _forget_statistics(raw: bytearray, byte_order: ByteOrder) -> None:
    """Mark dmin, dmax, dmean and rms as not determined (MRC2014: dmax < dmin, dmean below both, rms < 0)."""
    struct.pack_into(byte_order + "3f", raw, 76, 0.0, -1.0, -2.0)
    struct.pack_into(byte_order + "f", raw, 216, -1.0)


@dataclass(frozen=True)
class Layout:
    """How the bytes of an MRC file are divided: header, frames of equal size, trailing bytes."""

    header_bytes: int
    frames: int
    frame_bytes: int
    total_bytes: int

    @classmethod
    def of(cls, header: MrcHeader) -> Self:
        """Layout of a file that has nothing behind its frames."""
        return cls(len(header.raw), header.nz, header.frame_bytes, header.data_end)

    @property
    def data_end(self) -> int:
        """Offset of the first trailing byte."""
        return self.header_bytes + self.frames * self.frame_bytes
