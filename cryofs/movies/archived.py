"""Archived movies: the TIFF files that cryofs writes, shown as the MRC files they were made from."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError, DamagedError
from cryofs.formats import foreign_tiff, mrc, tiff
from cryofs.formats.codecs import Codec
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.record import Record, read_blob, read_record
from cryofs.formats.sums import quick_sum
from cryofs.formats.tiff import PageLayout
from cryofs.movies.decoding import FrameDecoder, StoredFrame
from cryofs.movies.gain import GainLibrary
from cryofs.movies.movie import Layout, Movie


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
            self.layout = _layout(self.record, self.name)
            self.page_layout = _page_layout(self.record)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def mrc_header(self) -> MrcHeader:
        """Parsed header of the original."""
        if self._header is None:
            raw = read_blob(self._descriptor, self.record.header, self.name)
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

    def kept_frame(self, index: int, memory: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Bytes of a frame of the original; errors as those of `raw_frame`."""
        with self._telling(index):
            frame = self.record.frames[index]
            raw = self._decode(index, memory)
            if quick_sum(raw) != frame.sum:
                raise DamagedError("the decoded frame has another sum than recorded")
            return raw

    def counts(self, index: int) -> NDArray[Any]:
        """What is stored of a frame: values before the multiplication with the gain, shape (ny, nx), frame rows.

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
            strips = self._strips(index)
            page = np.empty((layout.ny, layout.nx), layout.dtype)

            def decode_group(group: range) -> None:
                for number in group:
                    rows = page[number * layout.rows_per_strip :][: layout.rows_per_strip]
                    rows[:] = decoder.page_rows(strips, number)

            self._for_each_group(decode_group)
            return page[::-1]

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Bytes behind the last frame of the original."""
        pieces = []
        start = 0
        for blob in self.record.trailing:
            if start < offset + size and offset < start + blob.size:
                data = read_blob(self._descriptor, blob, self.name)
                pieces.append(data[max(offset - start, 0) : offset + size - start])
            start += blob.size
        return b"".join(pieces)

    def close(self) -> None:
        """Release the file."""
        os.close(self._descriptor)

    def _check_unchanged(self) -> None:
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._stat.st_size, self._stat.st_mtime_ns):
            raise ChangedError(f"{self.name}: overwritten while it was open; open it again")

    def _decode(self, index: int, memory: NDArray[Any] | None) -> NDArray[np.uint8]:
        decoder = self._loaded_decoder()
        stored = self._stored_frame(index, decoder)
        values = decoder.empty_values(self.mrc_header.ny, memory)

        def decode_group(group: range) -> None:
            decoder.decode(stored.strips, group, values[self.page_layout.frame_rows(group)])

        self._for_each_group(decode_group)
        stored.exceptions.put_back(values)
        return mrc.frame_raw(values, self.mrc_header)

    def _stored_frame(self, index: int, decoder: FrameDecoder) -> StoredFrame:
        found = self.record.frames[index].exceptions
        if found is None:
            return StoredFrame(self._strips(index), decoder.unpack_exceptions(b"", 0, 0))
        packed = read_blob(self._descriptor, found.blob, self.name)
        return StoredFrame(self._strips(index), decoder.unpack_exceptions(packed, found.count, found.near))

    def _strips(self, index: int) -> list[bytes]:
        """Strips of a frame, encoded, checked.

        Decoders meet no damaged strip: what they do with one is their affair, and may be a crash.
        """
        frame = self.record.frames[index]
        places = zip(frame.byte_counts, frame.offsets, strict=True)
        strips = [os.pread(self._descriptor, byte_count, offset) for byte_count, offset in places]
        if quick_sum(b"".join(strips)) != frame.stored_sum:
            raise DamagedError("its strips have another sum than recorded")
        return strips

    def _for_each_group(self, action: Callable[[range], None]) -> None:
        run = map if self._pool is None else self._pool.map
        for _ in run(action, self.page_layout.strip_groups()):
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


def _layout(record: Record, name: str) -> Layout:
    frames, ny, nx = record.shape
    if record.mrc_mode not in mrc.MODE_DTYPES or min(record.shape) < 1 or frames != len(record.frames):
        raise DamagedError(f"{name}: its record contradicts itself; restore it from a backup")
    header = MrcHeader(bytes(0), record.byte_order, nx, ny, frames, record.mrc_mode)
    layout = Layout(record.header.size, frames, header.frame_bytes, record.original.bytes)
    if layout.data_end + sum(blob.size for blob in record.trailing) != layout.total_bytes:
        raise DamagedError(f"{name}: the sizes in its record do not add up; restore it from a backup")
    return layout


def _page_layout(record: Record) -> PageLayout:
    _, ny, nx = record.shape
    codec = Codec(record.compression, record.predictor)
    return PageLayout(ny, nx, np.dtype(record.stored_dtype), codec, record.rows_per_strip, record.pixel_size)


def check_pages(movie: ArchivedMovie) -> None:
    """Check that TIFF readers find the very strips that the record names.

    Raises
    ------
    DamagedError
        The TIFF structure and the record disagree.
    """
    if movie.record.adopted is None:
        pages = tiff.read_pages(movie.path, movie.page_layout)
    else:
        index = foreign_tiff.read_index(movie.descriptor, movie.record.adopted.bytes, movie.name)
        pages = index.pages if index.layout == movie.page_layout else []
    recorded: list[Any] = [(tuple(frame.offsets), tuple(frame.byte_counts)) for frame in movie.record.frames]
    if [(page.offsets, page.byte_counts) for page in pages] != recorded:
        raise DamagedError(f"{movie.name}: its TIFF pages are not those of its record; restore it from a backup")
