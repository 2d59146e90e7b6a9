"""xz files: blocks with an index at the end of each stream, which gives the size of the unpacked file."""

import io
from collections.abc import Generator
from concurrent.futures import Executor
from lzma import LZMAError

import numpy as np
import xz
from xz.common import XZError

from cryofs.formats.packing import READ_BYTES, Decoder, Packing, Piece, Points, SourceFile
from cryofs.storage.byte_source import ByteSource

_PIECE_BYTES = 1 << 20


class Xz(Packing):
    """The format of xz."""

    name = "xz"
    suffix = ".xz"
    magic = b"\xfd7zXZ\0"
    errors = (XZError, LZMAError, EOFError, ValueError)

    def known_size(self, source: ByteSource) -> int | None:
        """Return the size in the indexes of all streams."""
        with self._open(source) as file:
            return file.seek(0, io.SEEK_END)

    def unpack(
        self, source: ByteSource, pool: Executor | None = None, *, indexed: bool = False
    ) -> Generator[Piece, None, Points]:
        """Yield the bytes of all blocks."""
        decoder = _Decoder(self, source, 0)
        while piece := decoder.read(_PIECE_BYTES):
            yield piece
        return Points(np.array(decoder.block_boundaries or [0], "<u8").tobytes(), b"")

    def decoder(self, source: ByteSource, points: Points, offset: int) -> Decoder:
        """Return a decoder that starts with the block of an offset."""
        return _Decoder(self, source, int(points.offsets[points.before(offset)]))

    def _open(self, source: ByteSource) -> xz.XZFile:
        with self.reporting(source):
            # the library reads a few kilobytes at a time
            return xz.XZFile(io.BufferedReader(SourceFile(source), READ_BYTES))


class _Decoder(Decoder):
    def __init__(self, packing: Xz, source: ByteSource, position: int):
        self._packing = packing
        self._source = source
        self._file = packing._open(source)
        self._file.seek(position)
        self.position = position

    @property
    def block_boundaries(self) -> list[int]:
        """Offset of each block in the unpacked file."""
        return list(self._file.block_boundaries)

    def read(self, size: int) -> Piece:
        """Return at most `size` of the next bytes."""
        with self._packing.reporting(self._source):
            data = self._file.read(size)
        self.position += len(data)
        return data
