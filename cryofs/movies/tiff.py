"""TIFF movies of other programs, shown as MRC movies: the same pixels, with the bottom row first.

Programs disagree on whether 8-bit MRC values are signed, so unsigned 8-bit pixels are shown as int16.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import mrc, tiff_movie
from cryofs.formats.archive_names import TIFF_SUFFIXES, foreign_name, foreign_names, original_name
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.record import HEAD_BYTES, is_archived, read_record
from cryofs.formats.record_check import layout_of
from cryofs.formats.tiff_directories import MAGICS
from cryofs.formats.tiff_layout import NoMovieError
from cryofs.formats.tiff_movie import TiffFacts, TiffIndex
from cryofs.movies.archived import ARCHIVED, ArchivedMovie, summary_of
from cryofs.movies.archived_counts import COUNTS, CountsMovie
from cryofs.movies.archived_metadata import ArchivedMetadata, counts_bytes
from cryofs.movies.frame_decoder import FrameName
from cryofs.movies.movie import EncodedFrame, Movie, convert_pixels
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
from cryofs.movies.tiff_page import EncodedPage
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.byte_window import window_over
from cryofs.system.resources import usable_cores
from cryofs.version import VERSION

_REMEDY = "copy the file again"
_MODES = {"int8": 0, "uint8": 1, "int16": 1, "uint16": 6, "float32": 2}


def foreign_header(facts: TiffFacts) -> MrcHeader:
    """Return the MRC header under which a TIFF movie is shown."""
    frames, ny, nx = facts.shape
    mode = _MODES[np.dtype(facts.dtype).name]
    if facts.packed:
        nx, mode = 2 * nx - facts.odd, mrc.MODE_4BIT
    label = f"TIFF movie; shown as MRC by cryofs {VERSION}"
    return mrc.made_header((frames, ny, nx), mode, facts.pixel_size, label)


class ForeignMovie(Movie):
    """A TIFF movie written by another program.

    Parameters
    ----------
    index : TiffIndex or None
        The index of the file; None to read it.
    source : LocalFile or None
        The open file, which the movie closes; None to open `path`.

    Raises
    ------
    NoMovieError, DamagedError
        See `cryofs.formats.tiff_movie.read_index`.
    """

    def __init__(self, path: Path, index: TiffIndex | None = None, source: LocalFile | None = None):
        self.source = source or LocalFile.open(path)
        self.name = self.source.name
        self.path = path
        try:
            self.index = index or tiff_movie.read_index(self.source)
            self._header = foreign_header(self.index.facts)
            self.layout = Layout.of(self._header)
        except BaseException:
            self.source.close()
            raise
        # two 4-bit values share one byte, in the file and in memory
        packed = self.index.facts.packed
        self._shown = np.dtype(np.uint8) if packed else self._header.dtype.newbyteorder("<")
        self.identity = *self.source.identity, "TIFF"

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def stat(self) -> os.stat_result:
        """Attributes of the file when it was opened."""
        return self.source.stat

    @property
    def stored_bytes(self) -> int:
        """Size of the TIFF file in bytes."""
        return self.source.size

    @property
    def decodes_at_once(self) -> int:
        """Number of frames to decode at the same time: one for each core, because a frame is decoded on one core."""
        return usable_cores()

    @property
    def row_bytes(self) -> int:
        """Size of a row of the virtual file in bytes."""
        return self._header.row_bytes

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size of decoded pixels in memory, in bytes; pixels keep their stored type."""
        layout = self.index.layout
        return (layout.ny if rows is None else len(rows)) * layout.nx * layout.dtype.itemsize

    def row_block(self, row: int) -> range | None:
        """Return the row block that contains a row, or None if only whole frames can be decoded."""
        layout = self.index.row_layout
        return None if layout is None else layout.row_block(row)

    def read_frame(self, index: int, rows: range | None = None) -> EncodedPage:
        """Read the strips of a frame or row block, which have no checksums."""
        return self._read(index, rows, self.source)

    def read_run(self, frames: range) -> EncodedFrame:
        """Read consecutive small frames in one piece."""
        pages = self.index.pages[frames.start : frames.stop]
        source = window_over(self.source, (place for page in pages for place in zip(*page.lists(), strict=True)))
        return self.run_of([self._read(index, None, source) for index in frames])

    def _read(self, index: int, rows: range | None, source: ByteSource) -> EncodedPage:
        layout, name = self.index.layouts[index], FrameName(self.name, index, _REMEDY)
        offsets, byte_counts = self.index.pages[index].lists()
        strips = layout.page.strips_of(rows)
        segments = {}
        try:
            for number in layout.segments_of(strips):
                segments[number] = source.read_exactly(byte_counts[number], offsets[number], f"strip {number}")
        except (DamagedError, OSError) as error:
            self.source.check_unchanged()
            raise name.damaged(error) from error
        # the only way to detect strips of another file, because they have no checksums
        self.source.check_unchanged()
        return EncodedPage(name, layout, strips, segments)

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return `size` bytes of the MRC file (uint8, shape (n,)) from decoded pixels."""
        return convert_pixels(decoded, self._shown, start, size)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return no bytes, because the virtual file ends with its frames."""
        return b""

    def follow_content(self, on_change: Callable[[], None]) -> None:
        """Continue to read the file if only its ctime moves and its directories stay the same."""
        expected = tiff_movie.content_digest(self.source, self.index)
        self.source.follow_content(expected, _content_digest, on_change)

    def close(self) -> None:
        """Close the file."""
        self.source.close()


def _content_digest(source: LocalFile) -> str:
    return tiff_movie.content_digest(source, tiff_movie.read_index(source))


@dataclass(frozen=True)
class TiffMetadata:
    """Metadata of a file with the suffix of a TIFF movie; either `facts` or `archived` is set.

    Attributes
    ----------
    facts : TiffFacts or None
        Facts about a TIFF movie of another program, adopted or not.
    archived : ArchivedMetadata or None
        Metadata of a renamed archived movie, whose TIFF pixels are not the values of the original.
    gain : str or None
        SHA-256 of the gain reference that adoption recorded.
    """

    facts: TiffFacts | None
    archived: ArchivedMetadata | None
    gain: str | None


class TiffProvider(Provider[TiffMetadata, TiffIndex]):
    """A TIFF movie of another program, shown as an MRC movie beside the stored file."""

    key = "FOREIGN"
    suffixes = TIFF_SUFFIXES
    metadata_type = TiffMetadata
    comes_with_references = True
    has_records = True

    def shown_name(self, stored: str) -> str | None:
        """Return the name of the MRC movie, or None if the stored name is not that of a TIFF movie."""
        return foreign_name(stored)

    def stored_names(self, shown: str) -> list[str]:
        """Return the possible names of the TIFF file."""
        return foreign_names(shown)

    def read_index(self, source: LocalFile) -> TiffIndex:
        """Read the directories of the file."""
        return tiff_movie.read_index(source)

    def probe(
        self, source: LocalFile, read_index: Callable[[LocalFile], TiffIndex], options: ShowOptions
    ) -> TiffMetadata | None:
        """Read the metadata from the record, or from the directories of a file without a record."""
        if is_archived(source):
            record = read_record(source)
            if record.adopted is None:
                return TiffMetadata(None, ARCHIVED.probe(source, lambda _: None, options), None)
            # the record defines the frames, even if the directories are damaged
            layout_of(record, source.name)
            dtype = np.dtype(record.stored_dtype).str
            gain = record.adopted.gain
            facts = TiffFacts(record.shape, dtype, False, record.pixel_size)
            return TiffMetadata(facts, None, gain.sha256 if gain else None)
        try:
            return TiffMetadata(read_index(source).facts, None, None)
        except NoMovieError:
            return None

    def is_shown(self, metadata: TiffMetadata, options: ShowOptions) -> bool:
        """Return False for counts that are shown only after multiplication with their gain reference."""
        return metadata.facts is None or not options.is_normalised

    def appearance(self, metadata: TiffMetadata, options: ShowOptions) -> Appearance:
        """Return the attributes of the MRC movie; for a renamed archived movie, those of its original."""
        if metadata.archived is not None:
            is_counts = COUNTS.option in options.enabled and COUNTS.is_shown(metadata.archived, options)
            return (COUNTS if is_counts else ARCHIVED).appearance(metadata.archived, options)
        return Appearance(foreign_header(metadata.facts).data_end if metadata.facts else None)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the movie; open a file with a record as an archived movie, whose frames have checksums."""
        if is_archived(source):
            movie = ArchivedMovie(path, context.gains, context.pool, source)
            is_renamed = movie.record.adopted is None
            has_counts = counts_bytes(movie.record) is not None
            is_counts = is_renamed and has_counts and COUNTS.option in context.options.enabled
            return CountsMovie(movie) if is_counts else movie
        return ForeignMovie(path, context.index(self, source), source)

    def needs_references(self, metadata: TiffMetadata) -> bool:
        """Return True for movies of other programs, which are shown together with their gain reference."""
        return metadata.facts is not None

    def describe(self, movie: ForeignMovie | ArchivedMovie, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the facts that `cryofs info` prints about the MRC movie and its storage."""
        if isinstance(movie, ArchivedMovie):
            return ARCHIVED.describe(movie, path, options)
        codecs = [layout.page.codec for layout in movie.index.layouts]
        return mrc_description(movie, path.name) | {
            "format": "tiff",
            "compression": ", ".join(dict.fromkeys(codec.compression for codec in codecs)),
            "predictor": ", ".join(dict.fromkeys(codec.predictor for codec in codecs)),
            "stored_dtype": movie.index.layout.dtype.name,
            "stored_bytes": movie.stored_bytes,
            "original": {"name": path.name, "bytes": movie.stored_bytes, "sha256": None},
        }

    def identify(self, path: Path) -> Stored | None:
        """Identify a file by its record, or by its directories if it has no record."""
        return self._identify(path)[0]

    def summarize(self, path: Path) -> Summary | None:
        """Return the facts for the report, from the record, or from the directories of a file without a record."""
        found, facts = self._identify(path)
        if found is None or facts is None:
            return summary_of(found) if found else None
        kind = f"TIFF of another program, {{size}}, {np.dtype(facts.dtype).name}"
        return Summary(kind, facts.shape, path.stat().st_mtime, found.size, found.size)

    def _identify(self, path: Path) -> tuple[Stored | None, TiffFacts | None]:
        is_named_archived = original_name(path.name) is not None
        with LocalFile.open(path) as source:
            size = source.size
            if (archived := ARCHIVED.identify_open(source)) is not None:
                return archived, None
            try:
                facts = self.read_index(source).facts
                return Stored(self, size, is_foreign=True), facts
            except DamagedError as error:
                # a file that cryofs wrote has its signature at the beginning
                is_foreign = not is_named_archived or size >= HEAD_BYTES
                return Stored(self, size, error=error, is_foreign=is_foreign), None
            except NoMovieError:
                if not is_named_archived or source.read(len(MAGICS[0]), 0) in MAGICS:
                    return None, None
        text = f"{path}: neither an archived movie nor a TIFF file; restore the file from a backup"
        return Stored(self, size, error=DamagedError(text)), None


TIFF = TiffProvider()
