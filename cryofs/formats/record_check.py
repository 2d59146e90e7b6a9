"""Consistency checks of records."""

import numpy as np

from cryofs.codecs.registry import codec_named
from cryofs.errors import DamagedError
from cryofs.formats import exception_block, mrc
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.record import TRAILING_PIECE_BYTES, Record
from cryofs.formats.tiff_pages import PageLayout

# Largest scale of a gain reference that values of 16 bits can have.
_MAX_SCALE = 65535


def layout_of(record: Record, name: str) -> Layout:
    """Return the layout of the original file that a record describes.

    Raises
    ------
    DamagedError
        The record is inconsistent or has an invalid field.
    """
    frames, ny, nx = record.shape
    if (
        record.mrc_mode not in mrc.MODE_DTYPES
        or min(*record.shape, record.rows_per_strip) < 1
        or frames != len(record.frames)
    ):
        raise DamagedError(f"{name}: invalid record: shape, mode and frames disagree; restore the file from a backup")
    header = MrcHeader(bytes(0), record.byte_order, nx, ny, frames, record.mrc_mode)
    layout = Layout(record.header.size, frames, header.frame_bytes, record.original.bytes)
    if layout.data_end + sum(blob.size for blob in record.trailing) != layout.total_bytes:
        raise DamagedError(
            f"{name}: invalid record: header, frames and trailing bytes do not add up to the original size; "
            "restore the file from a backup"
        )
    if field := _invalid_field(record, header):
        raise DamagedError(f"{name}: invalid record: {field}; restore the file from a backup")
    return layout


def _invalid_field(record: Record, header: MrcHeader) -> str | None:
    """Return a description of the first invalid field that would affect values or memory allocation, or None."""
    if not 0 <= record.header.size - mrc.MAIN_HEADER_BYTES <= mrc.MAX_EXTENDED_HEADER_BYTES:
        return f"header size of {record.header.size} bytes"
    if record.source_bytes < 1 or (record.adopted and record.adopted.bytes > record.header.offset):
        return f"source file size of {record.source_bytes} bytes"
    if record.adopted and (record.header.size > mrc.MAIN_HEADER_BYTES or record.trailing):
        return "adopted TIFF with an extended header or trailing bytes"
    if (longest := max((blob.size for blob in record.trailing), default=0)) > TRAILING_PIECE_BYTES:
        return f"trailing blob of {longest} bytes"
    # stored pixels are at most twice as wide as values: uint8 for 4-bit values, float32 for float16
    if max(header.frame_bytes, page_layout_of(record).page_bytes // 2) > mrc.MAX_FRAME_BYTES:
        return f"frame size of {header.ny} x {header.nx} pixels"
    if (gain := record.gain) is not None:
        is_integer = gain.rounding is not None
        if record.mrc_mode not in ((mrc.MODE_INT16, mrc.MODE_UINT16) if is_integer else (mrc.MODE_FLOAT32,)):
            return f"gain reference with rounding {gain.rounding} for values of mode {record.mrc_mode}"
        if not 0 < gain.scale <= _MAX_SCALE:
            return f"scale {gain.scale} of the gain reference"
    for number, frame in enumerate(record.frames):
        if (found := frame.exceptions) is None:
            continue
        if not found.near <= found.count <= header.ny * header.columns:
            return f"{found.count} exceptions ({found.near} near) in frame {number}"
        if found.blob.size != exception_block.packed_bytes(found.count - found.near, found.near, header.dtype.itemsize):
            return f"{found.count} exceptions in a blob of {found.blob.size} bytes in frame {number}"
    return None


def page_layout_of(record: Record) -> PageLayout:
    """Return the layout of the TIFF pages that a record describes."""
    _, ny, nx = record.shape
    codec = codec_named(record.compression, record.predictor)
    return PageLayout(ny, nx, np.dtype(record.stored_dtype), codec, record.rows_per_strip, record.pixel_size)
