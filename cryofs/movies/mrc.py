"""Plain MRC movies, read without conversion."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.formats import mrc
from cryofs.formats.archive_names import MOVIE_SUFFIXES
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.movies.movie import InMemoryFrame, Movie
from cryofs.movies.provider import Appearance, OpenContext, Provider, ShowOptions, Summary
from cryofs.movies.source import ReadRows, SourceMovie, StatSource
from cryofs.storage.byte_source import LocalFile


class MrcMovie(SourceMovie):
    """An uncompressed MRC file.

    Parameters
    ----------
    max_extended_header : int
        Largest accepted size of the extended header in bytes.
    source : LocalFile or None
        The open file, which the movie closes; None to open `path`.

    Raises
    ------
    FormatError
        The file is not a valid MRC file; see `cryofs.formats.mrc.read_header`.
    """

    def __init__(
        self,
        path: Path,
        max_extended_header: int = mrc.MAX_EXTENDED_HEADER_BYTES,
        source: StatSource | None = None,
    ):
        self.name = str(path)
        self.path = path
        self.source = source or LocalFile.open(path)
        try:
            self._header = mrc.read_header(self.source, max_extended_header)
        except BaseException:
            self.source.close()
            raise
        header = self._header
        self.identity = self.source.identity
        self.layout = Layout(len(header.raw), header.nz, header.frame_bytes, self.source.size)

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the file."""
        return self._header

    def read_frame(self, index: int, rows: range | None = None) -> InMemoryFrame:
        """Read a frame or some of its rows, which need no decoding."""
        rows = range(self._header.ny) if rows is None else rows
        return InMemoryFrame(self.raw_rows(index, rows.start, rows.stop))

    def row_reader(self, index: int, memory: NDArray[Any] | None = None) -> ReadRows:
        """Return a function that reads rows of a frame into an array (uint8, shape (n,))."""
        return partial(self.read_rows, index)

    def read_rows(self, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` (uint8, shape (n,)) with the bytes of the frame rows from `first` on."""
        if not 0 <= index < self.layout.frames:
            raise IndexError(f"{self.name}: no frame {index} (expected 0 to {self.layout.frames - 1})")
        offset = self.layout.header_bytes + index * self.layout.frame_bytes + first * self._header.row_bytes
        if self.source.read_into(raw.data, offset) < len(raw):
            problem = "truncated while it was read; retry once the file is complete"
            raise ChangedError(f"{self.name}, frame {index}: {problem}")

    def stack(self, frames: range, first: int, end: int) -> NDArray[Any]:
        """Return the values of rows `first` to `end` (exclusive) of several frames, shape (frames, rows, nx)."""
        header = self._header
        raw = np.empty((len(frames), (end - first) * header.row_bytes), np.uint8)
        for place, index in zip(raw, frames, strict=True):
            self.read_rows(index, first, place)
        return mrc.frame_values(raw.reshape(-1), header)[:, : header.nx].reshape(len(frames), -1, header.nx)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes after the last frame, `offset` bytes after its end."""
        return self.source.read(size, self.layout.data_end + offset)


class MrcProvider(Provider[None, None]):
    """A plain MRC movie, without metadata, because mounts show it unchanged."""

    key = "MRC"
    suffixes = MOVIE_SUFFIXES

    def probe(self, source: LocalFile, read_index: Callable[[LocalFile], None], options: ShowOptions) -> None:
        """Return None: mounts show the file unchanged."""

    def appearance(self, metadata: None, options: ShowOptions) -> Appearance:
        """Return the attributes of the file."""
        return Appearance(None)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the MRC file."""
        return MrcMovie(path, source=source)

    def summarize(self, path: Path) -> Summary | None:
        """Return None: reports list plain movies separately, with the reason why they were not archived."""


MRC = MrcProvider()
