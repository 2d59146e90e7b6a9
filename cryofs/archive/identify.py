"""Find out whether a file of an archive is an archived movie, and why a plain copy is not."""

from pathlib import Path

from cryofs.error_hints import reason_of
from cryofs.errors import DamagedError, FormatError
from cryofs.formats.archive_names import is_movie_name, is_reference_name
from cryofs.formats.record import HEAD_BYTES, MARK, Record, is_archived, read_record
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile


def held_movie(target: Path) -> Record | None:
    """Return the record of an archived movie, or None if the path is missing or not an archived movie.

    Raises
    ------
    DamagedError
        The movie is damaged.
    """
    if regular_file(target) is None:
        return None
    with LocalFile.open(target) as source:
        return read_record(source) if is_archived(source) else None


def is_marked(target: Path) -> bool:
    """Return True if compress wrote the file, even if it is damaged; adopted movies have no mark."""
    with target.open("rb") as file:
        return MARK.encode() in file.read(HEAD_BYTES)


def holds_movie(target: Path) -> bool:
    """Return True if compress wrote an archived movie of this name, even if it is damaged."""
    try:
        held = held_movie(target)
    except DamagedError:
        return is_marked(target)
    return held is not None and held.adopted is None


def why_plain(path: Path) -> str | None:
    """Return the reason why a file with the name of a movie is a plain copy, or None for all other names.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not is_movie_name(path.name) or is_reference_name(path.name):
        return None
    try:
        MrcMovie(path).close()
    except FormatError as error:
        return reason_of(error, path)
    return "a movie that compression does not shrink, or that is not archived yet"
