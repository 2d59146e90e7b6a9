"""Archived movies: TIFF files that cryofs wrote, shown as the original MRC files."""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import mrc, tiff_movie, tiff_pages
from cryofs.formats.archive_names import MOVIE_SUFFIXES, archived_name, is_movie_name, original_name
from cryofs.formats.blob import read_blob
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.record import Record, is_archived, read_record
from cryofs.formats.record_check import layout_of
from cryofs.formats.tiff_pages import PageLayout
from cryofs.kernels import from_counts
from cryofs.movies.archived_file import ArchivedFile
from cryofs.movies.archived_metadata import ArchivedMetadata
from cryofs.movies.frame_decoder import EncodedOriginal, EncodedPixels, FrameDecoder
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.held_counts import EncodedCounts, HeldCounts
from cryofs.movies.movie import EncodedFrame, EncodedRun, Movie
from cryofs.movies.mrc_facts import mrc_description
from cryofs.movies.provider import (
    Appearance,
    InfoOptions,
    OpenContext,
    Provider,
    ShowOptions,
    Stored,
    Summary,
)
from cryofs.storage.byte_source import ByteSource, LocalFile


class ArchivedMovie(Movie):
    """An archived movie, read as its original.

    Parameters
    ----------
    path : Path
        The TIFF file.
    gains : GainLibrary
        Library in which the gain reference is searched, from `path` upwards, when the first frame is read.
    pool : Executor or None
        Thread pool that decodes the strips of a frame in parallel. Its tasks must not wait for one another.
    source : LocalFile or None
        The open file, which the movie closes; None to open `path`.

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
        self._held = HeldCounts.of(self.record, self.page_layout)

    @property
    def mrc_header(self) -> MrcHeader:
        """Parsed header of the original."""
        return self.file.header

    @property
    def record(self) -> Record:
        """Record of the original, read from the end of the file."""
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
        """Size of the TIFF file in bytes."""
        return self.file.source.size

    @property
    def row_bytes(self) -> int:
        """Size of a row of the original in bytes."""
        return self.layout.frame_bytes // self.page_layout.ny

    def row_block(self, row: int) -> range | None:
        """Return the row block that contains a row, or None if only whole frames can be decoded."""
        return self.page_layout.row_block(row) if self.file.has_row_blocks else None

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size of a decoded frame or row block in memory, in bytes."""
        return super().decoded_bytes(rows) if self._held is None else self._held.held_bytes(rows)

    @property
    def scale(self) -> float:
        """Factor from electrons to pixel values for scaled fractions; 1 for all other movies."""
        return (self.record.rendered and self.record.rendered.scale) or 1.0

    @property
    def is_prepared(self) -> bool:
        """True if the gain reference is loaded, or the movie does not need one."""
        return self._decoder is not None or self._held is None

    def prepare(self) -> None:
        """Load the gain reference."""
        try:
            self._load_decoder()
        except (DamagedError, OSError) as error:
            raise self.file.damaged(0, error) from error

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return `size` bytes of the original (uint8, shape (n,)) from a decoded frame or row block."""
        if self._held is None:
            return decoded[start : start + size]
        reference = (self._decoder or self._load_decoder()).reference
        assert reference is not None
        return self._held.value_bytes(decoded, reference, start, size, memory)

    def mrc_frame(self, index: int) -> NDArray[np.uint8]:
        """Return the bytes of a frame of the original (uint8, shape (n,)), decoded directly to values."""
        return self._encoded(index).decode()

    def read_frame(self, index: int, rows: range | None = None) -> EncodedCounts | EncodedOriginal:
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
        encoded = self._encoded(index, rows)
        return encoded if self._held is None else EncodedCounts(self._held, encoded)

    def read_run(self, frames: range) -> EncodedFrame:
        """Read consecutive small frames in one piece."""
        source = self.file.read_ahead(frames)
        return EncodedRun([self._encoded(index, None, source) for index in frames], self.layout.frame_bytes)

    def _encoded(self, index: int, rows: range | None = None, source: ByteSource | None = None) -> EncodedOriginal:
        file = self.file
        try:
            decoder = self._decoder or self._load_decoder()
            strips = file.read_strips(index, file.page_layout.strips_of(rows), source)
            frame = file.record.frames[index]
            found = frame.exceptions
            packed = read_blob(source or file.source, found.blob) if found else b""
        except (DamagedError, IndexError, OSError) as error:
            raise file.damaged(index, error) from error
        # the checksum in the record is that of the whole frame; a row block is verified by those of its strips and blob
        checksum = frame.sum if rows is None else None
        count, near = (found.count, found.near) if found else (0, 0)
        return EncodedOriginal(file.frame_name(index), decoder, strips, packed, count, near, checksum, self.pool)

    def counts(self, index: int) -> NDArray[Any]:
        """Return the stored pixels of a frame, not multiplied with the gain: shape (ny, nx), the stored integer type.

        Raises
        ------
        DamagedError, ChangedError
            See `read_frame`; the gain reference is not needed.
        """
        file, layout = self.file, self.page_layout
        try:
            strips = file.read_strips(index, range(layout.strips))
        except (DamagedError, IndexError, OSError) as error:
            raise file.damaged(index, error) from error
        pixels = EncodedPixels(file.frame_name(index), layout, strips, self.pool).decode()
        return pixels.reshape(layout.ny, layout.nx)

    def histogram_frame(self, index: int) -> NDArray[Any]:
        """Return counts for gain-normalised movies and values for all others, shape (ny, nx)."""
        return self.frame(index) if self.record.gain is None else self.counts(index)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes after the last frame of the original, `offset` bytes after its end."""
        return self.file.read_trailing(size, offset)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _load_decoder(self) -> FrameDecoder:
        wanted, reference = self.record.gain, None
        if wanted is not None:
            reference = self._gains.of_movie(wanted, self.record.shape[1:], self.path.parent, self.name)
        self._decoder = FrameDecoder(self.page_layout, self.mrc_header, reference)
        return self._decoder


def check_pages(movie: ArchivedMovie) -> None:
    """Check that the strips in the TIFF directories are those in the record.

    Raises
    ------
    DamagedError
        The TIFF directories do not match the record.
    """
    if movie.record.adopted is None:
        pages = tiff_pages.read_pages(movie.path, movie.page_layout, len(movie.record.frames))
    else:
        index = tiff_movie.read_index(movie.source.first_bytes(movie.record.adopted.bytes))
        pages = index.pages if index.recorded_layout == movie.page_layout else []
    recorded = [(frame.offsets, frame.byte_counts) for frame in movie.record.frames]
    if [page.lists() for page in pages] != recorded:
        raise DamagedError(f"{movie.name}: TIFF directories do not match the record; restore the file from a backup")


class ArchivedProvider(Provider[ArchivedMetadata, None]):
    """An archived movie, shown as its original in place of the stored file."""

    key = "MOVIE"
    suffixes = tuple(archived_name(suffix) for suffix in MOVIE_SUFFIXES)
    metadata_type = ArchivedMetadata
    replaces_stored = True
    has_records = True

    def shown_name(self, stored: str) -> str | None:
        """Return the name of the original, or None if the stored name is not that of an archived movie."""
        return original_name(stored)

    def stored_names(self, shown: str) -> list[str]:
        """Return the name of the archived file as the only item."""
        return [archived_name(shown)] if is_movie_name(shown) else []

    def claims(self, source: LocalFile) -> bool:
        """Return True if the file has a record, valid or not."""
        return is_archived(source)

    def probe(
        self, source: LocalFile, read_index: Callable[[LocalFile], None], options: ShowOptions
    ) -> ArchivedMetadata | None:
        """Return the metadata from the record, or None if the file has no record."""
        if not is_archived(source):
            return None
        record = read_record(source)
        return ArchivedMetadata.of(record, layout_of(record, source.name).total_bytes)

    def is_shown(self, metadata: ArchivedMetadata, options: ShowOptions) -> bool:
        """Return False if the counts of another program are shown only after multiplication with their gain."""
        return not (metadata.is_adopted and options.is_normalised)

    def appearance(self, metadata: ArchivedMetadata, options: ShowOptions) -> Appearance:
        """Return the attributes of the original."""
        return metadata.appearance(metadata.size)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the movie as its original."""
        return ArchivedMovie(path, context.gains, context.pool, source)

    def load_compiled(self) -> None:
        """Load the compiled kernels that multiply counts with the gain."""
        from_counts.load_compiled()

    def gain(self, metadata: ArchivedMetadata) -> str | None:
        """Return the SHA-256 of the gain reference that the movie needs, or None."""
        return metadata.gain

    def describe(self, movie: ArchivedMovie, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the facts that `cryofs info` prints about the original and its storage."""
        record = movie.record
        original = record.original
        exceptions = [frame.exceptions for frame in record.frames if frame.exceptions]
        return mrc_description(movie, path.name) | {
            "format": "cryofs",
            "compression": record.compression,
            "predictor": record.predictor,
            "coder": record.coder or None,
            "stored_dtype": record.stored_dtype,
            "stored_bytes": movie.stored_bytes,
            "original": {"name": original.name, "bytes": original.bytes, "sha256": original.sha256},
            "ratio": movie.stored_bytes / record.source_bytes,
            "gain": msgspec.structs.asdict(record.gain) if record.gain else None,
            "exceptions": sum(found.count for found in exceptions),
            "exception_bytes": sum(found.blob.stored for found in exceptions),
            "writer": record.writer,
            **{made: msgspec.to_builtins(getattr(record, made)) for made in ("adopted", "rendered", "packed")},
        }

    def identify(self, path: Path) -> Stored | None:
        """Identify a file by its record; return None if it has no record."""
        with LocalFile.open(path) as source:
            return self.identify_open(source)

    def identify_open(self, source: LocalFile) -> Stored | None:
        """Identify an open file by its record; return None if it has no record."""
        try:
            return Stored(self, source.size, read_record(source)) if is_archived(source) else None
        except DamagedError as error:
            return Stored(self, source.size, error=error)

    def summarize(self, path: Path) -> Summary | None:
        """Return the facts for the report, from the record; None without a record."""
        found = self.identify(path)
        return summary_of(found) if found else None


def summary_of(found: Stored) -> Summary | None:
    """Return the facts for the report, or None without a record; raise DamagedError if the record is damaged."""
    if found.error is not None:
        raise found.error
    if (record := found.record) is None:
        return None
    frames, ny, nx = record.shape
    what = "gain-normalised" if record.gain else "EER fractions" if record.rendered else "counts"
    if record.adopted is not None:
        what = "adopted TIFF"
    dtype = np.dtype(mrc.MODE_DTYPES[record.mrc_mode]).name if record.mrc_mode != mrc.MODE_4BIT else "4-bit"
    return Summary(
        kind=f"{{size}}, {dtype}, {what}",
        shape=record.shape,
        time=(record.rendered.mtime_ns if record.rendered else record.original.mtime_ns) / 1e9,
        original_bytes=record.source_bytes,
        stored_bytes=found.size,
        gain=record.needed_gain.sha256 if record.needed_gain else None,
        exceptions=sum(frame.exceptions.count for frame in record.frames if frame.exceptions),
        values=frames * ny * nx,
    )


ARCHIVED = ArchivedProvider()
