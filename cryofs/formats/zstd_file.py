"""zstd files: frames one after the other, each of which may state its size; other frames are skipped.

zstd writes one frame, pzstd and the seekable format several.
"""

import struct
import sys
from collections.abc import Generator
from concurrent.futures import Executor

import numpy as np

from cryofs.formats.packing import (
    BLOCK_BYTES,
    READ_BYTES,
    Decoder,
    Packing,
    Piece,
    Points,
    no_points,
    only_zeros_follow,
)
from cryofs.storage.byte_source import ByteSource

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

_PIECE_BYTES = 1 << 20
_MAGIC = 0xFD2FB528
_SKIPPED, _SKIPPED_MASK = 0x184D2A50, 0xFFFFFFF0
_HEAD_BYTES = 18
_SIZE_BYTES = (0, 2, 4, 8)
_DICTIONARY_BYTES = (0, 1, 2, 4)
_RLE_BLOCK, _RESERVED_BLOCK = 1, 3


class Zstd(Packing):
    """The format of zstd."""

    name = "zstd"
    suffix = ".zst"
    magic = b"\x28\xb5\x2f\xfd"
    errors = (ZstdError, EOFError)

    def known_size(self, source: ByteSource) -> int | None:
        """Return the sum of the sizes that frames state, None if one states none; no frame is decoded."""
        offset = total = 0
        while offset < source.size:
            head = source.read(_HEAD_BYTES, offset)
            if (skipped := _skipped_bytes(head)) is not None:
                offset += skipped
            elif not _is_frame(head):
                self._check_end(source, offset)
                break
            else:
                size, header_bytes, has_sum = _frame_header(head)
                if size is None:
                    return None
                total += size
                offset = self._after_blocks(source, offset + header_bytes) + 4 * has_sum
        if offset > source.size or not source.size:
            raise self.damaged(source, "truncated")
        return total

    def unpack(
        self, source: ByteSource, pool: Executor | None = None, *, indexed: bool = False
    ) -> Generator[Piece, None, Points]:
        """Yield the bytes of all frames."""
        rows = [(0, 0)]
        decoder = _Decoder(self, source, 0, 0)
        while piece := decoder.read(_PIECE_BYTES):
            yield piece
            # a point for each frame, but not for each of many small ones
            place = decoder.frame
            if place[1] != rows[-1][1] and place[0] - rows[-1][0] >= BLOCK_BYTES:
                rows.append(place)
        table = np.array(rows, "<u8")
        return Points(table[:, 0].tobytes(), table[:, 1].tobytes()) if indexed else no_points()

    def decoder(self, source: ByteSource, points: Points, offset: int) -> Decoder:
        """Return a decoder that starts with the frame of an offset, or with one before it."""
        number = points.before(offset)
        place = int(np.frombuffer(points.data, "<u8")[number])
        return _Decoder(self, source, int(points.offsets[number]), place)

    def _after_blocks(self, source: ByteSource, offset: int) -> int:
        """Return the offset after the blocks of a frame."""
        while True:
            head = source.read(3, offset)
            if len(head) < 3:
                raise self.damaged(source, "truncated")
            header = int.from_bytes(head, "little")
            is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
            if kind == _RESERVED_BLOCK:
                raise self.damaged(source, f"invalid block at byte {offset}")
            offset += 3 + (1 if kind == _RLE_BLOCK else size)
            if is_last:
                return offset

    def _check_end(self, source: ByteSource, offset: int) -> None:
        if not offset or not only_zeros_follow(source, offset):
            raise self.damaged(source, f"no zstd data at byte {offset}")


class _Decoder(Decoder):
    """Decoder of frames.

    Attributes
    ----------
    frame : tuple
        Offsets in the unpacked and the packed file of the frame that was begun last.
    """

    def __init__(self, packing: Zstd, source: ByteSource, position: int, offset: int):
        self._packing = packing
        self._source = source
        self._decoder: ZstdDecompressor | None = None
        # of the next packed bytes to read, and those that were read
        self._offset = offset
        self._rest = b""
        self.frame = position, offset
        self.position = position

    def read(self, size: int) -> Piece:
        """Return at most `size` of the next bytes."""
        while self._decoder is not None or self._begin():
            decoder = self._decoder
            assert decoder is not None
            if decoder.needs_input and not self._rest:
                self._rest = self._source.read(READ_BYTES, self._offset)
                self._offset += len(self._rest)
                if not self._rest:
                    raise self._packing.damaged(self._source, "truncated")
            with self._packing.reporting(self._source):
                data = decoder.decompress(self._rest, size)
            self._rest = b""
            if decoder.eof:
                self._rest, self._decoder = decoder.unused_data, None
            if data:
                self.position += len(data)
                return data
        return b""

    def _begin(self) -> bool:
        """Begin the next frame; return False at the end of the file."""
        while True:
            start = self._offset - len(self._rest)
            head = self._source.read(_HEAD_BYTES, start)
            if (skipped := _skipped_bytes(head)) is not None:
                self._offset, self._rest = start + skipped, b""
                if self._offset > self._source.size:
                    raise self._packing.damaged(self._source, "truncated")
                continue
            if not _is_frame(head):
                self._packing._check_end(self._source, start)
                return False
            self.frame = self.position, start
            self._decoder = ZstdDecompressor()
            return True


def _is_frame(head: bytes) -> bool:
    return len(head) >= 5 and struct.unpack_from("<I", head)[0] == _MAGIC


def _skipped_bytes(head: bytes) -> int | None:
    """Return the size of a frame without data of the file, or None if it is not one."""
    if len(head) < 8 or struct.unpack_from("<I", head)[0] & _SKIPPED_MASK != _SKIPPED:
        return None
    return 8 + int(struct.unpack_from("<I", head, 4)[0])


def _frame_header(head: bytes) -> tuple[int | None, int, bool]:
    """Return the stated size of a frame or None, the bytes of its header, and whether a checksum follows it."""
    flags = head[4]
    is_single = bool(flags & 0x20)
    size_bytes = _SIZE_BYTES[flags >> 6] or int(is_single)
    start = 5 + (not is_single) + _DICTIONARY_BYTES[flags & 3]
    size = int.from_bytes(head[start : start + size_bytes], "little") if size_bytes else None
    if size is not None and size_bytes == 2:
        size += 256
    return size, start + size_bytes, bool(flags & 4)
