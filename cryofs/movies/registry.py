"""Opening a movie of any kind by its path."""

from concurrent.futures import Executor
from pathlib import Path

from cryofs.errors import FormatError
from cryofs.formats.archive_names import EER_SUFFIX, MOVIE_SUFFIXES, TIFF_SUFFIXES
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
        None of them.
    DamagedError
        An archived movie whose record is damaged.
    """
    path = path.absolute()
    if path.is_dir():
        raise FormatError(f"{path}: a folder; name a movie in it")
    if not path.is_file():
        raise FormatError(f"{path}: no such file; check the path")
    if path.suffix == EER_SUFFIX:
        return EerMovie(path, Rendering(), EerGains())
    if path.suffix not in TIFF_SUFFIXES:
        try:
            return MrcMovie(path)
        except FormatError as error:
            if path.suffix in MOVIE_SUFFIXES:
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
