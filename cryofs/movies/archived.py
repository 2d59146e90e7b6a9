"""Archived movies: the TIFF files that cryofs writes, shown as the MRC files they were made from."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs import codec
from cryofs.errors import ChangedError, DamagedError
from cryofs.formats import mrc, tiff_movie, tiff_pages
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.record import Blob, Frame, Record, read_blob, read_record
from cryofs.formats.record_check import _page_layout, layout_of
from cryofs.movies.frame_decoder import FrameDecoder, StoredFrame, pieces_of
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.storage.byte_source import read_exactly
from cryofs.storage.checksums import xxh3_checksum
from cryofs.storage.file_state import is_open_still

# Frames of fewer bands are decoded whole at once.
_BANDS_WORTH_IT = 4


class ArchivedMovie(Movie):
    """A movie in an archive.

    Parameters
    ----------
    path : Path
        The TIFF file.
    gains : GainLibrary
        Where its gain reference is looked for, from `path` upwards, when the first frame is decoded.
    pool : Executor or None
        Decodes the strips of a frame in parallel; its tasks never wait for one another.
    descriptor : int or None
        The file, opened already; the movie closes it.
    name : str or None
        How messages call it, if not by its path.

    Raises
    ------
    DamagedError
        The record is damaged or missing.
    """

    def __init__(
        self,
        path: Path,
        gains: GainLibrary,
        pool: Executor | None = None,
        descriptor: int | None = None,
        name: str | None = None,
    ):
        self.name = name or str(path)
        self.path = path
        self._gains = gains
        self._pool = pool
        self._decoder: FrameDecoder | None = None
        self._header: MrcHeader | None = None
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else descriptor
        try:
            self._stat = os.fstat(self._descriptor)
            self.record: Record = read_record(self._descriptor, self._stat.st_size, self.name)
            self.layout = layout_of(self.record, self.name)
            self.page_layout = _page_layout(self.record)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def mrc_header(self) -> MrcHeader:
        """Parsed header of the original."""
        if self._header is None:
            raw = self._blob(self.record.header)
            frames, ny, nx = self.record.shape
            self._header = MrcHeader(raw, self.record.byte_order, nx, ny, frames, self.record.mrc_mode)
        return self._header

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._descriptor

    @property
    def stored_bytes(self) -> int:
        """Size of the TIFF file."""
        return self._stat.st_size

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of a frame of the original.

        Raises
        ------
        DamagedError
            They do not have the recorded sum; nothing of the frame is given.
        GainError
            The gain reference is missing.
        ChangedError
            The file was overwritten since it was opened.
        """
        return self.kept_frame(index)

    def stored_frame(self, index: int) -> StoredFrame:
        """Strips and exceptions of a frame, checked; its gain reference is in memory afterwards."""
        with self._telling(index):
            return self._stored(index, range(self.page_layout.strips), self._loaded_decoder())

    def kept_frame(
        self, index: int, memory: NDArray[Any] | None = None, stored: StoredFrame | None = None
    ) -> NDArray[np.uint8]:
        """Bytes of a frame of the original; errors as those of `raw_frame`."""
        stored = stored or self.stored_frame(index)
        with self._telling(index):
            frame = self.record.frames[index]
            raw = self._decode(stored, memory)
            if xxh3_checksum(raw) != frame.sum:
                raise DamagedError("the decoded frame has another sum than recorded")
            return raw

    def band(self, start: int) -> range | None:
        """Bytes of the rows that are decoded for the one at `start`; None where these are much of a frame."""
        layout = self.page_layout
        if len(layout.strip_groups()) < _BANDS_WORTH_IT:
            return None
        rows = layout.frame_rows(layout.strip_group_at(start // self._row_bytes))
        return range(rows.start * self._row_bytes, rows.stop * self._row_bytes)

    def stored_band(self, index: int, band: range) -> StoredFrame:
        """Strips and exceptions of a band of a frame, as `stored_frame` gives those of all of it."""
        with self._telling(index):
            strips = self.page_layout.strip_group_at(band.start // self._row_bytes)
            return self._stored(index, strips, self._loaded_decoder())

    def kept_band(
        self, index: int, band: range, memory: NDArray[Any] | None = None, stored: StoredFrame | None = None
    ) -> NDArray[np.uint8]:
        """Bytes of a band of a frame; errors as those of `raw_frame`.

        Nothing is known of a band's bytes alone; all that they are made of has sums of its own.
        """
        stored = stored or self.stored_band(index, band)
        with self._telling(index):
            return self._decode(stored, memory)

    def strips(self, index: int) -> dict[int, bytes]:
        """Strips of a frame by their numbers, encoded, checked; errors as those of `counts`."""
        with self._telling(index):
            return self._strips(index, range(self.page_layout.strips))

    def counts(self, index: int, strips: dict[int, bytes] | None = None) -> NDArray[Any]:
        """What is stored of a frame: values before the multiplication with the gain, shape (ny, nx), frame rows.

        Parameters
        ----------
        strips : dict or None
            What `strips` gave, if it was asked before.

        Raises
        ------
        DamagedError
            The strips do not have the recorded sum; nothing of the frame is given.
        ChangedError
            The file was overwritten since it was opened.
        """
        layout = self.page_layout
        with self._telling(index):
            # no gain reference is needed for counts
            decoder = FrameDecoder(layout, self.mrc_header, None)
            strips = strips or self._strips(index, range(layout.strips))
            page = np.empty((layout.ny, layout.nx), layout.dtype)

            def decode_piece(piece: range) -> None:
                page[piece.start * layout.rows_per_strip : piece.stop * layout.rows_per_strip] = decoder.page_rows(
                    strips, piece
                )

            self._for_each_piece(range(layout.strips), decode_piece)
            return page[::-1]

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Bytes behind the last frame of the original."""
        pieces = []
        start = 0
        for blob in self.record.trailing:
            if start < offset + size and offset < start + blob.size:
                data = self._blob(blob)
                pieces.append(data[max(offset - start, 0) : offset + size - start])
            start += blob.size
        return b"".join(pieces)

    def close(self) -> None:
        """Release the file."""
        os.close(self._descriptor)

    @property
    def _row_bytes(self) -> int:
        return self.layout.frame_bytes // self.page_layout.ny

    def _blob(self, blob: Blob) -> bytes:
        try:
            return read_blob(self._descriptor, blob, self.name)
        except DamagedError:
            self._check_unchanged()
            raise

    def _check_unchanged(self) -> None:
        if not is_open_still(self._descriptor, self._stat):
            raise ChangedError(f"{self.name}: overwritten while it was open; open it again")

    def _decode(self, stored: StoredFrame, memory: NDArray[Any] | None) -> NDArray[np.uint8]:
        """Bytes of the frame rows whose strips are given."""
        decoder = self._loaded_decoder()
        rows = self.page_layout.frame_rows(stored.numbers)
        values = decoder.empty_values(rows.stop - rows.start, memory)

        def decode_piece(piece: range) -> None:
            held = self.page_layout.frame_rows(piece)
            decoder.decode(stored.strips, piece, values[held.start - rows.start : held.stop - rows.start])

        self._for_each_piece(stored.numbers, decode_piece)
        width = values.shape[1]
        stored.exceptions.within(rows.start * width, rows.stop * width).put_back(values)
        return mrc.frame_raw(values, self.mrc_header)

    def _stored(self, index: int, strips: range, decoder: FrameDecoder) -> StoredFrame:
        found = self.record.frames[index].exceptions
        if found is None:
            return StoredFrame(self._strips(index, strips), decoder.unpack_exceptions(b"", 0, 0))
        packed = read_blob(self._descriptor, found.blob, self.name)
        return StoredFrame(self._strips(index, strips), decoder.unpack_exceptions(packed, found.count, found.near))

    def _strips(self, index: int, numbers: range) -> dict[int, bytes]:
        """Strips of a frame by their numbers, encoded, checked.

        Decoders meet no damaged strip: what they do with one is their affair, and may be a crash.
        """
        frame = self.record.frames[index]
        self._check_strips(frame)
        strips = {}
        for number in numbers:
            size, offset = frame.byte_counts[number], frame.offsets[number]
            strips[number] = read_exactly(self._descriptor, size, offset, f"strip {number}")
            if xxh3_checksum(strips[number]) != frame.strip_sums[number]:
                raise DamagedError(f"strip {number} has another sum than recorded")
        return strips

    def _check_strips(self, frame: Frame) -> None:
        """Refuse a record that claims what cannot be, before memory is taken for it."""
        layout = self.page_layout
        if not len(frame.offsets) == len(frame.byte_counts) == len(frame.strip_sums) == layout.strips:
            raise DamagedError(f"its record names {len(frame.offsets)} strips instead of {layout.strips}")
        if max(map(sum, zip(frame.offsets, frame.byte_counts, strict=True))) > self._stat.st_size:
            raise DamagedError("its strips lie beyond the end of the file")
        stored = sum(frame.byte_counts)
        if stored > min(self._stat.st_size, layout.most_stored_bytes):
            raise DamagedError(f"its strips take {stored} bytes, more than they can")
        if layout.page_bytes > codec.MOST_EXPANSION * stored:
            raise DamagedError(f"its strips cannot hold {layout.page_bytes} bytes")

    def _for_each_piece(self, strips: range, action: Callable[[range], None]) -> None:
        pieces = pieces_of(strips)
        # a single piece need not wait for those of others
        run = map if self._pool is None or len(pieces) == 1 else self._pool.map
        for _ in run(action, pieces):
            pass

    @contextlib.contextmanager
    def _telling(self, index: int) -> Iterator[None]:
        """Name file, frame and remedy in what goes wrong with a frame."""
        try:
            yield
        except (DamagedError, IndexError, OSError) as error:
            self._check_unchanged()
            damaged = DamagedError(f"{self.name}, frame {index}: damaged ({error}); restore the file from a backup")
            damaged.facts["frame"] = index
            raise damaged from error

    def _loaded_decoder(self) -> FrameDecoder:
        if self._decoder is None:
            wanted, reference = self.record.gain, None
            if wanted is not None:
                reference = self._gains.get(wanted.sha256, self.path.parent, self.name)
                if reference.shape != self.record.shape[1:]:
                    raise DamagedError(
                        f"its gain reference is {reference.shape}, the frames are {self.record.shape[1:]}"
                    )
            self._decoder = FrameDecoder(self.page_layout, self.mrc_header, reference)
        return self._decoder


def check_pages(movie: ArchivedMovie) -> None:
    """Check that TIFF readers find the very strips that the record names.

    Raises
    ------
    DamagedError
        The TIFF structure and the record disagree.
    """
    if movie.record.adopted is None:
        pages = tiff_pages.read_pages(movie.path, movie.page_layout, len(movie.record.frames))
    else:
        index = tiff_movie.read_index(movie.descriptor, movie.record.adopted.bytes, movie.name)
        pages = index.pages if index.layout == movie.page_layout else []
    recorded = [(frame.offsets, frame.byte_counts) for frame in movie.record.frames]
    if [page.lists() for page in pages] != recorded:
        raise DamagedError(f"{movie.name}: its TIFF pages are not those of its record; restore it from a backup")
