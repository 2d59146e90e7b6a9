"""Metadata of archived movies that attributes and listings need."""

import stat

import msgspec
import numpy as np

from cryofs.formats import mrc
from cryofs.formats.record import Record
from cryofs.movies.provider import Appearance


class ArchivedMetadata(msgspec.Struct, frozen=True, gc=False):
    """Metadata of an archived movie, from its record.

    Attributes
    ----------
    counts_bytes : int or None
        Size of the movie of counts in bytes; None if the movie is not gain-normalised.
    gain : str or None
        SHA-256 of the gain reference.
    is_adopted : bool
        Whether the file is an adopted TIFF movie of another program.
    """

    size: int
    mtime_ns: int
    atime_ns: int
    mode: int
    counts_bytes: int | None
    gain: str | None
    is_adopted: bool

    @classmethod
    def of(cls, record: Record, size: int) -> "ArchivedMetadata":
        """Return the metadata of a movie whose original has `size` bytes."""
        original, gain = record.original, record.gain.sha256 if record.gain else None
        times, is_adopted = (original.mtime_ns, original.atime_ns), record.adopted is not None
        return cls(size, *times, original.mode, counts_bytes(record), gain, is_adopted)

    def appearance(self, size: int | None) -> Appearance:
        """Return the attributes of the original, with `size` as the size of the shown file."""
        return Appearance(size, stat.S_IFREG | self.mode, self.mtime_ns, self.atime_ns)


# Programs disagree on whether 8-bit MRC values are signed, so uint8 becomes int16.
COUNTS_MODES = {"int8": 0, "uint8": 1, "int16": 1, "uint16": 6}


def counts_bytes(record: Record) -> int | None:
    """Return the size of the movie of counts in bytes, or None if the movie is not gain-normalised."""
    mode = COUNTS_MODES.get(record.stored_dtype)
    if record.gain is None or mode is None:
        return None
    frames, ny, nx = record.shape
    return record.header.size + frames * ny * nx * np.dtype(mrc.MODE_DTYPES[mode]).itemsize
