"""Check and restore the TIFF in an adopted movie, which is its first part."""

import hashlib
from collections.abc import Callable

from cryofs.errors import DamagedError
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.storage.checksums import file_sha256

_CHUNK = 8 << 20


def check_adopted(movie: ArchivedMovie) -> None:
    """Check the SHA-256 of the adopted TIFF bytes, and that the TIFF directories list the recorded strips.

    Raises
    ------
    DamagedError
        The SHA-256 of the TIFF bytes does not match, or the directories do not list the recorded strips.
    """
    assert movie.record.adopted is not None
    check_pages(movie)
    if file_sha256(movie.source.first_bytes(movie.record.adopted.bytes)) != movie.record.adopted.sha256:
        raise DamagedError(f"{movie.name}: checksum mismatch in the TIFF; restore the file from a backup")


def restore_adopted(movie: ArchivedMovie, write: Callable[[bytes], object]) -> None:
    """Pass the TIFF bytes from before the adoption to `write`, in pieces.

    Raises
    ------
    DamagedError
        The SHA-256 of these bytes does not match the recorded one.
    """
    assert movie.record.adopted is not None
    digest, left, offset = hashlib.sha256(), movie.record.adopted.bytes, 0
    while left and (piece := movie.source.read(min(left, _CHUNK), offset)):
        digest.update(piece)
        write(piece)
        left, offset = left - len(piece), offset + len(piece)
    if digest.hexdigest() != movie.record.adopted.sha256:
        raise DamagedError(f"{movie.name}: checksum mismatch in the TIFF; restore the file from a backup")
