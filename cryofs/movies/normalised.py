"""TIFF movies of other programs, multiplied with their gain reference and shown as float32.

The reference is the one recorded by `cryofs adopt`, otherwise the nearest `gain-reference.mrc`. For an unreliable
pixel, RELION's converter stores the values themselves and a gain of 1, so the product restores them too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.error_hints import reason_of
from cryofs.errors import DamagedError, GainError
from cryofs.formats import mrc
from cryofs.formats.archive_names import GAIN_REFERENCE
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.record import is_archived, read_record
from cryofs.kernels.from_counts import GainReference, array_in
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary, reference_shape
from cryofs.movies.movie import EncodedFrame, Movie
from cryofs.movies.provider import NORMALISED as OPTION
from cryofs.movies.provider import Appearance, OpenContext, ShowOptions
from cryofs.movies.tiff import TIFF, TiffMetadata, TiffProvider, foreign_header
from cryofs.storage.byte_source import LocalFile
from cryofs.version import VERSION


def normalised_header(counts: MrcHeader) -> MrcHeader:
    """Return the MRC header of a movie of counts after the multiplication with its gain reference."""
    label = f"TIFF movie times gain reference, by cryofs {VERSION}"
    return mrc.made_header(counts.shape, mrc.MODE_FLOAT32, counts.pixel_size, label)


@dataclass(frozen=True)
class EncodedNormalised(EncodedFrame):
    """Rows of a frame, or a run of whole frames, that decode to counts times gain.

    Attributes
    ----------
    encoded : EncodedFrame
        The counts.
    counts_bytes : callable
        Converts the decoded array of `encoded` to bytes of counts in the MRC file.
    movie : Movie
        The movie of counts.
    rows : range
        The rows of each frame.
    """

    encoded: EncodedFrame
    counts_bytes: Callable[[NDArray[Any]], NDArray[np.uint8]]
    movie: Movie
    reference: GainReference
    header: MrcHeader
    rows: range

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Return the bytes of the values (uint8, shape (n,))."""
        raw = self.counts_bytes(self.encoded.decode())
        counts = mrc.frame_values(raw, self.movie.mrc_header)[:, : self.header.nx]
        values = array_in(out, counts.shape, self.header.dtype)
        rows, height = slice(self.rows.start, self.rows.stop), len(self.rows)
        for first in range(0, len(counts), height):
            frame = slice(first, first + height)
            # `apply_gain` takes rows in the order of a page
            self.reference.restore(counts[frame][::-1], rows, values[frame])
        return mrc.frame_raw(values, self.header)

    def for_one_thread(self) -> "EncodedNormalised":
        """Return the same rows, whose counts do not use a pool."""
        return replace(self, encoded=self.encoded.for_one_thread())


class NormalisedMovie(Movie):
    """A TIFF movie of another program times its gain reference.

    Parameters
    ----------
    counts : Movie
        The stored movie; closed with this movie.
    sha256 : str
        SHA-256 of the gain reference.
    folder : Path
        Folder from which `gains` searches the reference upwards when the first frame is read.
    """

    def __init__(self, counts: Movie, gains: GainLibrary, sha256: str, folder: Path):
        self.name = counts.name
        self._counts = counts
        self._header = normalised_header(counts.mrc_header)
        self.layout = Layout.of(self._header)
        self.identity = *counts.identity, OPTION, sha256
        self._gains, self._sha256, self._folder = gains, sha256, folder
        self._reference: GainReference | None = None

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def decodes_at_once(self) -> int:
        """Number of frames to decode at the same time; see the movie of counts."""
        return self._counts.decodes_at_once

    def row_block(self, row: int) -> range | None:
        """Return the row block that contains a row, or None if only whole frames can be decoded."""
        return self._counts.row_block(row)

    def read_frame(self, index: int, rows: range | None = None) -> EncodedNormalised:
        """Read the strips of a frame or row block; load the gain reference if it is not in memory.

        Raises
        ------
        DamagedError, ChangedError
            See the movie of counts.
        GainError
            The gain reference is missing or changed, or its size does not fit.
        """
        reference = self._reference or self._load_reference()
        counts, every = self._counts, rows or range(self._header.ny)
        size = len(every) * counts.row_bytes
        encoded = counts.read_frame(index, rows)
        as_bytes = lambda decoded: counts.mrc_bytes(decoded, 0, size)  # noqa: E731
        return EncodedNormalised(encoded, as_bytes, counts, reference, self._header, every)

    def read_run(self, frames: range) -> EncodedNormalised:
        """Read consecutive small frames in one piece."""
        reference = self._reference or self._load_reference()
        encoded, every = self._counts.read_run(frames), range(self._header.ny)
        return EncodedNormalised(encoded, lambda decoded: decoded, self._counts, reference, self._header, every)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return no bytes, because the virtual file ends with its frames."""
        return b""

    def follow_content(self, on_change: Callable[[], None]) -> None:
        """Continue to read the movie of counts if only the ctime of its file moves."""
        self._counts.follow_content(on_change)

    def close(self) -> None:
        """Close the file."""
        self._counts.close()

    def _load_reference(self) -> GainReference:
        reference = self._gains.get(self._sha256, self._folder, self.name)
        _check_size(self.name, self.shape[1:], reference.shape)
        self._reference = reference
        return reference


def _check_size(name: str, expected: tuple[int, int], found: tuple[int, int]) -> None:
    if found != expected:
        sizes = f"expected {expected[0]} x {expected[1]}, got {found[0]} x {found[1]}"
        raise GainError(
            f"{name}: wrong size of the gain reference ({sizes}); put the {GAIN_REFERENCE} of this camera beside it"
        )


class NormalisedProvider(TiffProvider):
    """A TIFF movie of another program, multiplied with its gain reference in views that request it."""

    key = "NORMALISED"
    option = OPTION
    comes_with_references = False
    has_records = False
    applies_reference = True

    @property
    def table(self) -> str:
        """Key of the metadata table; shared with TIFF movies."""
        return TIFF.table

    def claims(self, source: LocalFile) -> bool:
        """Return True unless cryofs archived the movie; mounts show the original instead."""
        return not is_archived(source) or read_record(source).adopted is not None

    def is_shown(self, metadata: TiffMetadata, options: ShowOptions) -> bool:
        """Return True for movies of other programs."""
        return metadata.facts is not None

    def appearance(self, metadata: TiffMetadata, options: ShowOptions) -> Appearance:
        """Return the attributes of the movie of values."""
        return Appearance(normalised_header(foreign_header(metadata.facts)).data_end if metadata.facts else None)

    def gain(self, metadata: TiffMetadata) -> str | None:
        """Return the SHA-256 of the gain reference that adoption recorded, or None."""
        return metadata.gain

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the movie as values.

        Raises
        ------
        GainError
            The movie has no gain reference, or it does not fit.
        """
        movie = super().open(path, source, context)
        if isinstance(movie, ArchivedMovie):
            if movie.record.adopted is None:
                return movie
            if recorded := movie.record.adopted.gain:
                return NormalisedMovie(movie, context.gains, recorded.sha256, path.parent)
        reference = context.reference(path.parent)
        if reference is None:
            text = f"{movie.name}: no gain reference for the movie"
            raise GainError(f"{text}; put its {GAIN_REFERENCE} into this folder or above")
        return NormalisedMovie(movie, context.gains, _fitting(reference, movie, context.gains), reference.parent)


def _fitting(reference: Path, movie: Movie, gains: GainLibrary) -> str:
    """Return the SHA-256 of a gain reference; raise GainError if it is damaged or does not fit the movie."""
    try:
        shape = reference_shape(reference)
        sha256 = gains.sha256(reference)
    except (DamagedError, GainError, OSError) as error:
        reason = reason_of(error, reference)
        raise GainError(f"{movie.name}: invalid {GAIN_REFERENCE} ({reason}); replace the reference") from error
    _check_size(movie.name, movie.shape[1:], shape)
    return sha256


NORMALISED = NormalisedProvider()
