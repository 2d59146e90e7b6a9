"""Identify archived movies in an archive, and explain plain copies of movies."""

from pathlib import Path

from cryofs.error_hints import reason_of
from cryofs.errors import DamagedError, FormatError
from cryofs.formats.archive_names import is_movie_name, is_reference_name
from cryofs.formats.record import HEAD_BYTES, MARK, Record, is_archived, read_record
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile


def held_movie(target: Path) -> Record | None:
    """Return the record of an archived movie, or None if the path is missing or is another file.

    Raises
    ------
    DamagedError
        The file is a damaged archived movie.
    """
    if regular_file(target) is None:
        return None
    with LocalFile.open(target) as source:
        return read_record(source) if is_archived(source) else None


def is_marked(target: Path) -> bool:
    """Return True if compress wrote the file, even if it is damaged; adopted movies do not count."""
    with target.open("rb") as file:
        return MARK.encode() in file.read(HEAD_BYTES)


def holds_movie(target: Path) -> bool:
    """Return True if compress wrote an archived movie under this name, even if it is damaged."""
    try:
        held = held_movie(target)
    except DamagedError:
        return is_marked(target)
    return held is not None and held.adopted is None


def why_plain(path: Path) -> str | None:
    """Return the reason why a movie is stored as a plain copy, or None if the name is not that of a movie.

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
