"""Packed movies: an MRC movie compressed as a whole by bzip2, gzip, xz or zstd.

A mount shows the bytes in the packed file, whatever they are; all else needs a movie in it.
"""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryofs.errors import CryofsError, DamagedError, FormatError
from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.packing import BLOCK_BYTES, PackedIndex, Packing, make_index
from cryofs.formats.packings import PACKED_SUFFIXES, PACKINGS, packed_names, packing_of, unpacked_name
from cryofs.movies.movie import EncodedFrame, Movie
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.mrc_facts import mrc_description
from cryofs.movies.provider import Appearance, InfoOptions, OpenContext, Provider, ShowOptions, Summary
from cryofs.movies.unpacked import UnpackedSource, UnpackedStream
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.system.resources import usable_cores

# Bytes that a sequential reader gets at once, in blocks with a checksum each.
_UNIT_BLOCKS = 8
_UNIT_BYTES = _UNIT_BLOCKS * BLOCK_BYTES


class PackedMetadata(msgspec.Struct, frozen=True):
    """Size of the unpacked file; None if the packed file does not state it and has not been unpacked yet."""

    size: int | None


@dataclass(frozen=True)
class _EncodedUnit(EncodedFrame):
    """Bytes of the unpacked file, which are read and unpacked at once: a decoder needs what it reads in order."""

    source: UnpackedSource
    offset: int
    size: int

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Return the bytes."""
        size = min(self.size, self.source.size - self.offset)
        unit = np.empty(size, np.uint8) if out is None else out.reshape(-1).view(np.uint8)[:size]
        if len(unit) < size:
            unit = np.empty(size, np.uint8)
        self.source.read_into(unit.data, self.offset)
        return unit


class UnpackedFile(Movie):
    """The bytes in a packed file, divided into units of equal size instead of frames; the last one may be shorter.

    Parameters
    ----------
    is_random : bool
        Whether decoders can start anywhere, so that several of them share the work for a sequential reader.
    """

    units_are_frames = False

    def __init__(self, source: UnpackedSource, *, is_random: bool):
        self.name = source.name
        self.identity = source.identity
        self.layout = Layout(0, -(-source.size // _UNIT_BYTES), _UNIT_BYTES, source.size)
        self._source = source
        self._at_once = usable_cores() if is_random else 1

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the movie in the file."""
        return mrc.read_header(self._source)

    @property
    def header(self) -> bytes:
        """Nothing: all bytes are in units."""
        return b""

    @property
    def row_bytes(self) -> int:
        """Bytes of a block."""
        return BLOCK_BYTES

    @property
    def decodes_at_once(self) -> int:
        """Number of units to unpack at the same time for a sequential reader."""
        return self._at_once

    def row_block(self, row: int) -> range:
        """Return one block, for readers that are not sequential."""
        return range(row, row + 1)

    def read_frame(self, index: int, rows: range | None = None) -> EncodedFrame:
        """Return a unit, or a block of it."""
        rows = range(_UNIT_BLOCKS) if rows is None else rows
        return _EncodedUnit(self._source, index * _UNIT_BYTES + rows.start * BLOCK_BYTES, len(rows) * BLOCK_BYTES)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return nothing: all bytes are in units."""
        return b""

    def close(self) -> None:
        """Release the file."""
        self._source.close()


class PackedProvider(Provider[PackedMetadata, PackedIndex]):
    """A packed movie, shown unpacked beside the stored file."""

    key = "PACKED"
    suffixes = PACKED_SUFFIXES
    metadata_type = PackedMetadata
    is_unpackable = True
    is_surveyed = True
    index_type = PackedIndex

    def shown_name(self, stored: str) -> str | None:
        """Return the name of the movie in the file."""
        return unpacked_name(stored)

    def stored_names(self, shown: str) -> list[str]:
        """Return the names that the packed file may have."""
        return packed_names(shown)

    def read_index(self, source: LocalFile) -> PackedIndex:
        """Unpack the whole file."""
        return self.survey(source)

    def survey(self, source: ByteSource) -> PackedIndex:
        """Unpack the whole file, on all cores if its format allows it."""
        with ThreadPoolExecutor(usable_cores(), "unpacking") as pool:
            return make_index(packing_of_file(source), source, pool)

    def probe(
        self, source: LocalFile, read_index: Callable[[LocalFile], PackedIndex], options: ShowOptions
    ) -> PackedMetadata:
        """Read the size that the file states, if its format does so reliably."""
        return PackedMetadata(packing_of_file(source).known_size(source))

    def needs_survey(self, metadata: PackedMetadata) -> bool:
        """Return True if the file does not state its size."""
        return metadata.size is None

    def surveyed(self, index: PackedIndex) -> PackedMetadata:
        """Return the metadata of a file that was unpacked."""
        return PackedMetadata(index.size)

    def appearance(self, metadata: PackedMetadata, options: ShowOptions) -> Appearance:
        """Return the size of the unpacked file."""
        return Appearance(metadata.size)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the file, in a mount as bytes, otherwise as the movie in it."""
        index = context.index(self, source)
        unpacked = UnpackedSource(source, packing_of_file(source), index, context.limited(source))
        if not context.shows_bytes:
            return MrcMovie(path, source=unpacked)
        return UnpackedFile(unpacked, is_random=index.longest_way <= 4 * _UNIT_BYTES)

    def describe(self, movie: MrcMovie, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the output of `cryofs info`: facts about the movie, and how it is packed."""
        size, stored = movie.layout.total_bytes, movie.stat.st_size
        assert isinstance(movie.source, UnpackedSource)
        packing = movie.source.packing.name
        return mrc_description(movie, unpacked_name(path.name) or path.stem) | {
            "format": f"mrc, packed by {packing}",
            "compression": packing,
            "stored_bytes": stored,
            "ratio": stored / size,
        }

    def damage(self, path: Path, *, every_frame: bool = False) -> CryofsError | None:
        """Return the reason why a file is not in its format, as far as its start and its stated size show."""
        with LocalFile.open(path) as source:
            packing = packing_of_file(source)
            try:
                packing.known_size(source)
                for _ in packing.unpack(source):
                    break
            except DamagedError as error:
                return error
        return None

    def summarize(self, path: Path) -> Summary | None:
        """Return the report summary from the start of the movie; the packed file is the original."""
        with LocalFile.open(path) as source:
            packing = packing_of_file(source)
            header, found = first_header(packing, source), source.stat
        kind = f"MRC packed by {packing.name}, {{size}}, {header.dtype.name}"
        return Summary(kind, header.shape, found.st_mtime, found.st_size, found.st_size)


def packed_stream(source: LocalFile, name: str, pool: Executor | None = None) -> UnpackedStream:
    """Return the bytes in a packed file of this name, in order; raise FormatError if its format is unknown."""
    return UnpackedStream(source, packing_of_file(source, name), pool)


def first_header(packing: Packing, source: LocalFile) -> MrcHeader:
    """Return the header of the movie in a packed file, of which only the first bytes are unpacked.

    Raises
    ------
    DamagedError, FormatError
        The start of the file is damaged, or not a movie. The size of the movie is not checked.
    """
    return mrc.read_header(UnpackedStream(source, packing))


def packing_of_file(source: ByteSource, name: str | None = None) -> Packing:
    """Return the format of a packed file by a name, by default its own, or by its first bytes if a link leads to it.

    Raises
    ------
    FormatError
        Neither is that of a packed file.
    """
    shown = Path(source.name).name if name is None else name
    found = packing_of(shown) or next((one for one in PACKINGS if source.read(8, 0).startswith(one.magic)), None)
    if found is None:
        raise FormatError(f"{source.name}: not a packed movie; rename or remove the file")
    return found


PACKED = PackedProvider()
