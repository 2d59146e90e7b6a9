"""gzip files, also of several members (pigz, bgzip), read by two libraries.

zlib-ng checks each member. indexed_gzip finds the points, each with the 32 KiB before it, but does not notice damage:
its bytes are used only after a comparison with the checksums of an index, which are made of the bytes from zlib-ng.
"""

import io
from collections.abc import Generator
from concurrent.futures import Executor

import numpy as np
from indexed_gzip import IndexedGzipFile
from zlib_ng import zlib_ng

from cryofs.formats.packing import READ_BYTES, Decoder, Packing, Piece, Points, SourceFile, no_points, only_zeros_follow
from cryofs.storage.byte_source import ByteSource

# Bytes between two points: the most that are unpacked in vain. Each point takes 32 KiB before compression.
_SPACING = 16 << 20
_PIECE_BYTES = 1 << 20
_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW_BITS = 31


class Gzip(Packing):
    """The format of gzip."""

    name = "gzip"
    suffix = ".gz"
    magic = _MAGIC
    # indexed_gzip raises OSError, as its file does
    errors = (zlib_ng.error, EOFError)  # type: ignore[assignment]

    def unpack(
        self, source: ByteSource, pool: Executor | None = None, *, indexed: bool = False
    ) -> Generator[Piece, None, Points]:
        """Yield the bytes of all members."""
        at, rest, is_first, size = 0, b"", True, 0
        while True:
            if len(rest) < len(_MAGIC):
                more = source.read(READ_BYTES, at)
                at, rest = at + len(more), rest + more
            if not rest.startswith(_MAGIC):
                if not is_first and only_zeros_follow(source, at - len(rest)):
                    break
                raise self.damaged(source, f"no gzip data at byte {at - len(rest)}")
            member = zlib_ng.decompressobj(_GZIP_WINDOW_BITS)
            while not member.eof:
                if not rest:
                    rest = source.read(READ_BYTES, at)
                    at += len(rest)
                is_over = not rest
                with self.reporting(source):
                    piece = member.decompress(rest, _PIECE_BYTES)
                rest = member.unconsumed_tail
                if piece:
                    size += len(piece)
                    yield piece
                elif is_over and not member.eof:
                    raise self.damaged(source, "truncated")
            rest, is_first = member.unused_data, False
        return _points(source) if indexed and size else no_points()

    def decoder(self, source: ByteSource, points: Points, offset: int) -> Decoder:
        """Return a decoder that starts at an offset."""
        return _Decoder(source, points, offset)


def _points(source: ByteSource) -> Points:
    file = SourceFile(source)
    try:
        with IndexedGzipFile(fileobj=file, spacing=_SPACING, readbuf_size=READ_BYTES) as packed:
            packed.build_full_index()
            exported = io.BytesIO()
            packed.export_index(fileobj=exported)
            starts = np.array([unpacked for unpacked, _ in packed.seek_points()], "<u8")
    except OSError as error:
        raise file.error or error from None
    return Points(starts.tobytes(), zlib_ng.compress(exported.getvalue(), 1))


class _Decoder(Decoder):
    def __init__(self, source: ByteSource, points: Points, offset: int):
        self._file = SourceFile(source)
        self._packed = IndexedGzipFile(fileobj=self._file, spacing=_SPACING, readbuf_size=READ_BYTES)
        self._packed.import_index(fileobj=io.BytesIO(zlib_ng.decompress(points.data)))
        self.position = offset

    def read(self, size: int) -> Piece:
        """Return at most `size` of the next bytes."""
        try:
            if self._packed.tell() != self.position:
                self._packed.seek(self.position)
            data: bytes = self._packed.read(size)
        except OSError as error:
            if self._file.error is not None:
                raise self._file.error from None
            # the caller compares what it gets
            if "ZRAN" not in str(error):
                raise
            data = b""
        self.position += len(data)
        return data
