"""Lists of movies: STAR files of RELION, `.mdoc` files of SerialEM, and `.lst` files with one name per line."""

from dataclasses import dataclass, field
from pathlib import Path

from cryofs.errors import FormatError
from cryofs.formats import mdoc
from cryofs.formats.star import StarFile

SUFFIXES = (".star", ".lst", ".mdoc")
# length in bytes of the longest path that Linux accepts
_LONGEST_NAME = 4096
_COLUMN = "rlnMicrographMovieName"
# column of tilt_series.star in RELION 5, which lists one table for each tilt series
_TABLES = "rlnTomoTiltSeriesStarFile"


@dataclass(frozen=True)
class MovieList:
    """The contents of a list.

    Attributes
    ----------
    movies : list
        Possible names of each movie, the most specific first; a STAR or `.lst` file gives one name.
    tables : list of str
        Names of STAR files that list movies.
    """

    movies: list[list[str]] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


def is_list(path: Path) -> bool:
    """Return True if the suffix of a file is that of a list."""
    return path.suffix.lower() in SUFFIXES


def is_kept(path: Path) -> bool:
    """Return True if a list contains metadata of its movies and is therefore archived with them."""
    return path.suffix.lower() == ".mdoc"


def read_list(path: Path) -> MovieList:
    """Return the names in a list unchanged.

    Raises
    ------
    FormatError
        The file is not a valid list, or contains no names.
    """
    suffix = path.suffix.lower()
    expected = "pass a STAR file, an .mdoc file, or a .lst file with one movie name per line"
    try:
        # files from Windows may begin with a byte order mark; SerialEM writes units in Latin-1
        text = path.read_text("utf-8-sig", errors="surrogateescape" if suffix == ".mdoc" else "strict")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise FormatError(f"{path}: not a text file; {expected}")
    found = _contents(path, suffix, text)
    names = [name for movie in found.movies for name in movie] + found.tables
    if (longest := max(map(len, names), default=0)) > _LONGEST_NAME:
        raise FormatError(
            f"{path}: not a list of movies (a name has {longest} characters, more than a path can have); {expected}"
        )
    if not names:
        wanted = f"a column _{_COLUMN} or _{_TABLES}" if suffix == ".star" else "one movie name per line"
        raise FormatError(f"{path}: contains no movie names; expected {wanted}")
    return found


def read_table(path: Path) -> MovieList:
    """Return the names in a table, which cannot list other tables; raise the errors of `read_list`."""
    found = read_list(path)
    if not found.movies:
        raise FormatError(f"{path}: contains no movie names; expected a column _{_COLUMN}")
    return found


def _contents(path: Path, suffix: str, text: str) -> MovieList:
    if suffix == ".mdoc":
        return MovieList([mdoc.possible_names(name) for name in mdoc.movie_names(text, path.name)])
    if suffix == ".lst":
        return MovieList([[name] for line in text.splitlines() if (name := line.strip())])
    try:
        star = StarFile(text, str(path))
    except FormatError as error:
        raise FormatError(f"{error}, or pass a .lst file with one movie name per line") from error
    return MovieList([[name] for name in star.every(_COLUMN) if name], [name for name in star.every(_TABLES) if name])
