"""Read lists of movies, and find the movies in them."""

import os
from collections.abc import Iterator
from pathlib import Path

from cryofs.archive.jobs import Problem
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats import movie_list
from cryofs.formats.archive_names import archived_name
from cryofs.system.paths import is_file

# folders that contain movies beside the metadata of a tilt series
_MOVIE_FOLDERS = ("", "..", "frames", "../frames")


def listed(source: Path, archive: Path | None) -> Iterator[tuple[Path, Path] | Problem]:
    """Yield the movies of a list, each with its path in the archive, or the problem with it.

    Names are relative to the working directory, as in RELION, or else to the list. Names of tables in a list of tables
    are resolved in the same way, and names in a table may also be relative to the table. In an archive (`archive` is
    None), a list of originals also selects their archived movies. Files beside the list take precedence, because the
    working directory may contain the originals.
    """
    try:
        contents = movie_list.read_list(source)
    except CryofsError as error:
        yield Problem(source, error)
        return
    if movie_list.is_kept(source):
        yield source, Path(source.name)
        folders = [source.parent / folder for folder in _MOVIE_FOLDERS]
    else:
        folders = [source.parent]
    yield from _movies(source, contents, folders, archive)
    for name in contents.tables:
        table = next((place for folder in (Path(), source.parent) if is_file(place := folder / name)), None)
        if table is None:
            yield _missing(source, name)
            continue
        try:
            found = movie_list.read_table(table)
        except CryofsError as error:
            yield Problem(table, error)
            continue
        yield from _movies(table, found, [*folders, table.parent], archive)


def _movies(
    source: Path, contents: movie_list.MovieList, folders: list[Path], archive: Path | None
) -> Iterator[tuple[Path, Path] | Problem]:
    """Yield the movies of one list; search for them in the working directory and in `folders`."""
    for names in contents.movies:
        if archive is None:
            tried = [(stored, name) for name in names for stored in (archived_name(name), name)]
            places = [(folder / stored, name) for stored, name in tried for folder in (*folders, Path())]
        else:
            places = [(folder / name, name) for name in names for folder in (Path(), *folders)]
        found = next(((place, name) for place, name in places if is_file(place)), None)
        if found is None:
            yield _missing(source, names[0])
        else:
            place, name = found
            yield place, _inside(Path(name)).with_name(place.name)


def _missing(source: Path, name: str) -> Problem:
    text = f"{name}: missing, but listed in {source}"
    remedy = "run cryofs in the folder to which the names are relative, or correct the list"
    return Problem(Path(name), ArchiveError(f"{text}; {remedy}"))


def _inside(name: Path) -> Path:
    """Return a path of a list as a relative path without `..`, to be joined to the root of the archive."""
    path = Path(os.path.normpath(name))
    return path.relative_to(path.anchor) if path.is_absolute() else Path(*(part for part in path.parts if part != ".."))
