"""Archived movies: TIFF files that cryofs wrote, shown as the MRC files that they were made from."""

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import tiff_movie, tiff_pages
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.record import Record, read_blob
from cryofs.formats.tiff_pages import PageLayout
from cryofs.movies.archived_file import ArchivedFile
from cryofs.movies.frame_decoder import EncodedOriginal, EncodedPixels, FrameDecoder
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.storage.byte_source import LocalFile


class ArchivedMovie(Movie):
    """A movie in an archive.

    Parameters
    ----------
    path : Path
        The TIFF file.
    gains : GainLibrary
        Where its gain reference is searched, from `path` upwards, when the first frame is read.
    pool : Executor or None
        Decodes the strips of a frame in parallel; its tasks never wait for one another.
    source : LocalFile or None
        The file, if it is open already; the movie closes it.

    Attributes
    ----------
    file : ArchivedFile
        The record and the strips.

    Raises
    ------
    DamagedError
        The record is damaged or missing.
    """

    def __init__(self, path: Path, gains: GainLibrary, pool: Executor | None = None, source: LocalFile | None = None):
        self.path = path
        self.pool = pool
        self.file = ArchivedFile(source or LocalFile.open(path))
        self.name = self.file.name
        self.layout = self.file.layout
        self.identity = *self.file.source.identity, "original"
        self._gains = gains
        self._decoder: FrameDecoder | None = None

    @property
    def mrc_header(self) -> MrcHeader:
        """Parsed header of the original."""
        return self.file.header

    @property
    def record(self) -> Record:
        """What the file remembers of its original."""
        return self.file.record

    @property
    def page_layout(self) -> PageLayout:
        """Layout of the TIFF pages."""
        return self.file.page_layout

    @property
    def source(self) -> LocalFile:
        """The open file."""
        return self.file.source

    @property
    def stored_bytes(self) -> int:
        """Size of the TIFF file."""
        return self.file.source.size

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the original."""
        return self.layout.frame_bytes // self.page_layout.ny

    def row_block(self, row: int) -> range | None:
        """Return the rows that are decoded together with a row, or None if whole frames are decoded only."""
        return self.page_layout.row_block(row) if self.file.has_row_blocks else None

    def read_frame(self, index: int, rows: range | None = None) -> EncodedOriginal:
        """Read the strips and exceptions of a frame; load the gain reference if it is not in memory.

        Raises
        ------
        DamagedError
            Stored bytes are missing, or do not match their checksums.
        GainError
            The gain reference is missing.
        ChangedError
            The file was written to after it was opened.
        """
        file = self.file
        try:
            decoder = self._decoder or self._load_decoder()
            strips = file.read_strips(index, file.page_layout.strips_of(rows))
            frame = file.record.frames[index]
            found = frame.exceptions
            exceptions = (read_blob(file.source, found.blob), found.count, found.near) if found else (b"", 0, 0)
        except (DamagedError, IndexError, OSError) as error:
            raise file.damaged(index, error) from error
        # the record has the checksum of the whole frame; all that a row block is made of has checksums of its own
        checksum = frame.sum if rows is None else None
        return EncodedOriginal(file.frame_name(index), decoder, strips, *exceptions, checksum, self.pool)

    def counts(self, index: int) -> NDArray[Any]:
        """Return the stored pixels of a frame: values before the multiplication with the gain, shape (ny, nx).

        Raises
        ------
        DamagedError, ChangedError
            As `read_frame`; the gain reference is not needed.
        """
        file, layout = self.file, self.page_layout
        try:
            strips = file.read_strips(index, range(layout.strips))
        except (DamagedError, IndexError, OSError) as error:
            raise file.damaged(index, error) from error
        pixels = EncodedPixels(file.frame_name(index), layout, strips, self.pool).decode()
        return pixels.reshape(layout.ny, layout.nx)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return bytes after the last frame of the original."""
        return self.file.read_trailing(size, offset)

    def close(self) -> None:
        """Release the file."""
        self.file.close()

    def _load_decoder(self) -> FrameDecoder:
        wanted, reference = self.record.gain, None
        if wanted is not None:
            reference = self._gains.get(wanted.sha256, self.path.parent, self.name)
            if reference.shape != self.record.shape[1:]:
                raise DamagedError(f"its gain reference is {reference.shape}, the frames are {self.record.shape[1:]}")
        self._decoder = FrameDecoder(self.page_layout, self.mrc_header, reference)
        return self._decoder


def check_pages(movie: ArchivedMovie) -> None:
    """Check that TIFF readers find the strips that the record names.

    Raises
    ------
    DamagedError
        The TIFF structure does not match the record.
    """
    if movie.record.adopted is None:
        pages = tiff_pages.read_pages(movie.path, movie.page_layout, len(movie.record.frames))
    else:
        index = tiff_movie.read_index(movie.source.first_bytes(movie.record.adopted.bytes))
        pages = index.pages if index.layout == movie.page_layout else []
    recorded = [(frame.offsets, frame.byte_counts) for frame in movie.record.frames]
    if [page.lists() for page in pages] != recorded:
        raise DamagedError(f"{movie.name}: its TIFF pages do not match its record; restore it from a backup")
