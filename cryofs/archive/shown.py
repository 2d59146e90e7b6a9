"""Original names of the files of an archive, as a mount shows them.

A mount looks up single names (`cryofs.vfs.namespace`). This module lists whole folders, for runs that restore or
compare originals. It omits derived files if the mount also shows the stored file, such as the `X.mrc` of an EER file.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from cryofs.archive.identify import held_movie
from cryofs.archive.own_references import is_needed_below, is_own_reference
from cryofs.archive.twins import counting
from cryofs.config.settings import FILE_NAME
from cryofs.errors import CryofsError
from cryofs.formats.archive_names import is_own_name, is_reference_name
from cryofs.formats.record import Record
from cryofs.movies import registry
from cryofs.movies.twins import Counts, conflict


class ShownKind(Enum):
    """The type of a file that a mount shows; the value is the phrase for messages."""

    FOLDER = "a folder"
    LINK = "a symbolic link"
    FILE = "a file"
    MOVIE = "an archived movie"
    SPECIAL = "a special file"


@dataclass(frozen=True)
class Shown:
    """A file of the archive and its role in a mount.

    Attributes
    ----------
    path : Path
        The file of the archive.
    found : os.stat_result
        State of this file; for a link, of the link itself.
    record : Record or None
        Record of an archived movie, otherwise None.
    error : Exception or None
        Error raised by the record of a damaged archived movie, otherwise None.
    optional : bool
        True if the file may be missing in SOURCE, because cryofs may have added it to the archive.
    """

    kind: ShownKind
    path: Path
    found: os.stat_result
    record: Record | None = None
    error: CryofsError | OSError | None = None
    optional: bool = False


def restored_name(name: str, record: Record) -> str:
    """Return the name of the original of an archived movie; an adopted movie keeps its own name."""
    # the registry also matches X.tif, an archived movie that was renamed
    return name if record.adopted is not None else registry.shown_name(name) or name


def kind_of(found: os.stat_result) -> ShownKind:
    """Return the kind of a file from the result of lstat; archived movies have the kind FILE."""
    if stat.S_ISDIR(found.st_mode):
        return ShownKind.FOLDER
    if stat.S_ISLNK(found.st_mode):
        return ShownKind.LINK
    return ShownKind.FILE if stat.S_ISREG(found.st_mode) else ShownKind.SPECIAL


def shown_in(folder: Path, root: Path) -> dict[str, Shown]:
    """Return the originals that a mount of `root` shows in a folder, by name.

    Raises
    ------
    OSError
        The folder cannot be listed.
    """
    found = dict(states_in(folder))
    movies: dict[str, Shown] = {}
    others: dict[str, Shown] = {}
    for name, state in sorted(found.items()):
        path = folder / name
        movie = _movie(path, state)
        if is_own_name(name):
            continue
        if is_reference_name(name) and stat.S_ISREG(state.st_mode):
            if not is_own_reference(path, lambda sha256: is_needed_below(folder, sha256)):
                others[name] = Shown(kind_of(state), path, state, optional=True)
        elif movie is not None:
            original = registry.replaced_name(name) or name
            if original in found:
                movie = _counting(movie, folder / original)
            if movie is not None:
                movies[original] = movie
        else:
            others[name] = Shown(kind_of(state), path, state, optional=folder == root and name == FILE_NAME)
    return others | movies


def states_in(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each name in a folder with the result of lstat; skip names that disappear meanwhile.

    Raises
    ------
    OSError
        The folder cannot be listed.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                yield entry.name, entry.stat(follow_symlinks=False)


def renamed_movie(folder: Path, name: str) -> Shown | None:
    """Return the renamed archived movie (`X.tif`) that a mount also shows as `name` (`X.mrc`), or None."""
    for stored in registry.names_of_renamed(name):
        path = folder / stored
        try:
            state = path.lstat()
            record = held_movie(path)
        except (CryofsError, OSError):
            continue
        if record is not None and record.adopted is None:
            return Shown(ShownKind.MOVIE, path, state, record)
    return None


def is_renamed_movie(shown: Shown) -> bool:
    """Return True for an archived movie that was renamed to `X.tif`; a mount shows this file and the original."""
    if shown.kind is not ShownKind.FILE or not registry.may_have_record(shown.path.name):
        return False
    try:
        record = held_movie(shown.path)
    except (CryofsError, OSError):
        return False
    return record is not None and record.adopted is None


def _counting(movie: Shown, plain: Path) -> Shown | None:
    """Return the entry of an archived movie of whose name a plain file exists, or None if the plain file counts."""
    if movie.record is None:
        return movie
    match counting(plain):
        case Counts.PLAIN:
            return None
        case Counts.NEITHER:
            return replace(movie, error=conflict(plain, movie.path), optional=False)
    return movie


def _movie(path: Path, state: os.stat_result) -> Shown | None:
    """Return the entry of an archived movie, or None if the file is not an archived movie or has no original."""
    if registry.replaced_name(path.name) is None or not stat.S_ISREG(state.st_mode):
        return None
    try:
        record = held_movie(path)
    except (CryofsError, OSError) as error:
        # listed as in a mount, so that users notice the damage
        return Shown(ShownKind.MOVIE, path, state, error=error)
    if record is None:
        return None
    # adopted movies and movies rendered from EER files have no original of this name
    optional = record.rendered is not None or record.adopted is not None
    return Shown(ShownKind.MOVIE, path, state, record, optional=optional)
