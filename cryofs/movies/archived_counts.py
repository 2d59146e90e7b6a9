"""Archived gain-normalised movies, shown as their stored counts.

If a value of the original is not exactly count x gain (an exception), its count is the nearest integer.
"""

from pathlib import Path

from cryofs.errors import DamagedError
from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.movies.archived import ArchivedMovie, ArchivedProvider
from cryofs.movies.archived_metadata import COUNTS_MODES, ArchivedMetadata
from cryofs.movies.frame_decoder import EncodedPixels
from cryofs.movies.movie import EncodedFrame, EncodedRun, Movie
from cryofs.movies.provider import Appearance, OpenContext, ShowOptions
from cryofs.storage.byte_source import ByteSource, LocalFile


class CountsMovie(Movie):
    """An archived movie shown as counts, with the header of the original and the MRC mode of the counts.

    Parameters
    ----------
    archived : ArchivedMovie
        A gain-normalised movie; closed with this movie.
    """

    def __init__(self, archived: ArchivedMovie):
        self.name = archived.name
        self._file, self._pool = archived.file, archived.pool
        self._header = mrc.with_mode(archived.mrc_header, COUNTS_MODES[archived.record.stored_dtype])
        self._shown = self._header.dtype.newbyteorder(self._header.byte_order)
        self.layout = Layout.of(self._header)
        self.identity = *archived.file.source.identity, "counts"

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    def row_block(self, row: int) -> range | None:
        """Return the row block that contains a row, or None if only whole frames can be decoded."""
        return self._file.page_layout.row_block(row) if self._file.has_row_blocks else None

    def read_frame(self, index: int, rows: range | None = None) -> EncodedPixels:
        """Read and verify the strips of a frame or row block."""
        return self._read(index, rows, None)

    def read_run(self, frames: range) -> EncodedFrame:
        """Read consecutive small frames in one piece."""
        source = self._file.read_ahead(frames)
        return EncodedRun([self._read(index, None, source) for index in frames], self.layout.frame_bytes)

    def _read(self, index: int, rows: range | None, source: ByteSource | None) -> EncodedPixels:
        file = self._file
        try:
            strips = file.read_strips(index, file.page_layout.strips_of(rows), source)
        except (DamagedError, IndexError, OSError) as error:
            raise file.damaged(index, error) from error
        return EncodedPixels(file.frame_name(index), file.page_layout, strips, self._pool, self._shown)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return no bytes, because the movie of counts ends with its frames."""
        return b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CountsProvider(ArchivedProvider):
    """An archived gain-normalised movie, shown as counts in views that request them."""

    key = "COUNTS"
    option = "counts"

    @property
    def table(self) -> str:
        """Key of the metadata table; shared with archived movies."""
        return ArchivedProvider.key

    def is_shown(self, metadata: ArchivedMetadata, options: ShowOptions) -> bool:
        """Return True if the movie is gain-normalised."""
        return metadata.counts_bytes is not None

    def appearance(self, metadata: ArchivedMetadata, options: ShowOptions) -> Appearance:
        """Return the attributes of the original, with the size of the movie of counts."""
        return metadata.appearance(metadata.counts_bytes)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the movie as counts."""
        return CountsMovie(ArchivedMovie(path, context.gains, context.pool, source))


COUNTS = CountsProvider()
