"""Check and restore the TIFF in an adopted movie, which is its first part."""

import hashlib
from collections.abc import Callable

from cryofs.errors import DamagedError
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.storage.checksums import file_sha256

_CHUNK = 8 << 20


def check_adopted(movie: ArchivedMovie) -> None:
    """Check that the bytes of the TIFF are those that were adopted, and that its pages list the recorded strips.

    Raises
    ------
    DamagedError
        The checksum of the TIFF differs, or its pages do not list the recorded strips.
    """
    assert movie.record.adopted is not None
    check_pages(movie)
    if file_sha256(movie.source.first_bytes(movie.record.adopted.bytes)) != movie.record.adopted.sha256:
        raise DamagedError(f"{movie.name}: checksum mismatch in the TIFF; restore the file from a backup")


def restore_adopted(movie: ArchivedMovie, write: Callable[[bytes], object]) -> None:
    """Pass the bytes that the TIFF had before adoption to `write`, in pieces.

    Raises
    ------
    DamagedError
        The checksum of these bytes differs from the recorded one.
    """
    assert movie.record.adopted is not None
    digest, left, offset = hashlib.sha256(), movie.record.adopted.bytes, 0
    while left and (piece := movie.source.read(min(left, _CHUNK), offset)):
        digest.update(piece)
        write(piece)
        left, offset = left - len(piece), offset + len(piece)
    if digest.hexdigest() != movie.record.adopted.sha256:
        raise DamagedError(f"{movie.name}: checksum mismatch in the TIFF; restore the file from a backup")
