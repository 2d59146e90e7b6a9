"""Opening a movie of any kind by its path."""

from concurrent.futures import Executor
from pathlib import Path

from cryofs.errors import FormatError
from cryofs.formats.archive_names import (
    EER_SUFFIX,
    MOVIE_SUFFIXES,
    TIFF_SUFFIXES,
    is_dot_name,
    is_eer_name,
    is_movie_name,
    is_tiff_name,
)
from cryofs.formats.record import is_archived
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.tiff import ForeignMovie
from cryofs.storage.byte_source import LocalFile


def open_movie(path: Path, gains: GainLibrary | None = None, pool: Executor | None = None) -> Movie:
    """Open a movie: archived, a TIFF of another program, EER (as fractions, rendered by default settings) or MRC.

    Raises
    ------
    FormatError
        None of them, or a file whose name begins with a dot.
    DamagedError
        An archived movie whose record is damaged.
    """
    path = path.absolute()
    if path.is_dir():
        raise FormatError(f"{path}: a folder; name a movie in it")
    if not path.is_file():
        raise FormatError(f"{path}: no such file; check the path")
    if is_dot_name(path.name):
        raise FormatError(f"{path}: not a movie (its name begins with a dot); rename a movie to open it")
    if is_eer_name(path.name):
        return EerMovie(path, Rendering(), EerGains())
    if not is_tiff_name(path.name):
        try:
            return MrcMovie(path)
        except FormatError as error:
            if is_movie_name(path.name):
                raise
            known = ", ".join((*MOVIE_SUFFIXES, *TIFF_SUFFIXES, EER_SUFFIX))
            raise FormatError(f"{path}: no MRC movie, and its name is not one of another kind ({known})") from error
    source = LocalFile.open(path)
    try:
        archived = is_archived(source)
    except BaseException:
        source.close()
        raise
    if archived:
        return ArchivedMovie(path, gains or GainLibrary(), pool, source)
    return ForeignMovie(path, source=source)
