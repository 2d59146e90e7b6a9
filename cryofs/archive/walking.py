"""List the files of sources: the tree of a folder, the movies of a list, and their links."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.archive.jobs import Job, Kind, Problem
from cryofs.archive.lists import listed
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError
from cryofs.formats import movie_list
from cryofs.formats.archive_names import archived_path, is_movie_name, is_own_name


@dataclass(frozen=True)
class Link:
    """A symbolic link in a source folder.

    Attributes
    ----------
    target : Path
        Path of the link in the archive.
    root : Path
        The source folder; a link that leads out of this folder also leads out of the archive.
    """

    path: Path
    target: Path
    root: Path


@dataclass
class Places:
    """Maps the real paths of sources to paths in the archive."""

    folders: dict[str, Path] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def known(self, real: str) -> Path | None:
        """Return the path in the archive of a file or folder that has its own entry, or None."""
        return self.files.get(real) or self.folders.get(real)

    def name_of(self, real: str) -> Path | None:
        """Return the path in the archive of a file or folder, or None if it is not archived."""
        folder, _, name = real.rpartition("/")
        if (known := self.known(real)) is not None or folder not in self.folders:
            return known
        return self.folders[folder] / name


def items_of(source: Path, archive: Path | None, places: Places) -> Iterator[Job | Problem | Link]:
    """Yield the jobs for a source, its links, and the problems with it.

    If `archive` is None, the source is itself an archive, whose files keep their names.
    """
    try:
        if source.is_dir() and archive is not None and same_folder(source, archive):
            text = f"{source}: source and archive are the same folder; pass another archive with -o"
            yield Problem(source, ArchiveError(text))
        elif source.is_dir():
            yield from walk(source, archive, places)
        elif not source.is_file():
            what = "not a file or folder" if source.exists() else "no such file or folder"
            yield Problem(source, ArchiveError(f"{source}: {what}; check the path"))
        elif movie_list.is_list(source):
            for found in listed(source, archive):
                yield found if isinstance(found, Problem) else named(*found, archive, places)
        else:
            yield named(source, Path(source.name), archive, places)
    except OSError as error:
        yield unreadable(source, error)


def walk(
    folder: Path, archive: Path | None, places: Places, base: Path = Path(), *, once: bool = False
) -> Iterator[Job | Problem | Link]:
    """Yield the jobs for all files and folders below a folder, its links, and problems; skip the archive itself.

    Parameters
    ----------
    base : Path
        Path of the folder in the archive.
    once : bool
        Whether to store links instead of files that the archive already contains under another name.
    """
    errors: list[OSError] = []
    for place, names, files in os.walk(folder, onerror=errors.append):
        here, real = Path(place), os.path.realpath(place)
        below = base / here.relative_to(folder)
        places.folders.setdefault(real, below)
        yield Job(Kind.FOLDER, here, below)
        known = {name: places.known(f"{real}/{name}") for name in (*names, *files)} if once else {}
        for name in sorted([*names, *files]):
            path = here / name
            try:
                if archive is None and is_own_name(name):
                    continue
                elif path.is_symlink():
                    yield Link(path, below / name, folder)
                elif (other := known.get(name)) is not None:
                    yield Job(Kind.LINK, path, below / name, relative_link(below / name, other))
                elif name in names:
                    continue
                elif path.is_file():
                    yield job_of(path, below / name, archive)
                else:
                    yield Problem(path, ArchiveError(f"{path}: not a file, folder or link; remove it from the sources"))
            except OSError as error:
                yield unreadable(path, error)
        names[:] = [name for name in names if known.get(name) is None and not _is_passed_over(here / name, archive)]
    for found in errors:
        yield unreadable(Path(found.filename), found)


def _is_passed_over(folder: Path, archive: Path | None) -> bool:
    """Return True for a folder to skip: the archive inside a source, or an internal folder of cryofs."""
    return is_own_name(folder.name) if archive is None else same_folder(folder, archive)


def unreadable(path: Path, error: OSError) -> Problem:
    """Return a problem with the error of an unreadable source."""
    return Problem(path, ArchiveError(explain(error, path)))


def named(source: Path, target: Path, archive: Path | None, places: Places) -> Job:
    """Enter a file that the user passed, or the target of a link, into `places`; return the job for it."""
    places.files.setdefault(os.path.realpath(source), target)
    return job_of(source, target, archive)


def job_of(source: Path, target: Path, archive: Path | None) -> Job:
    """Return the job for a file: archive a file with the name of a movie, copy any other file."""
    if archive is not None and is_movie_name(target.name):
        return Job(Kind.MOVIE, source, archived_path(target))
    return Job(Kind.FILE, source, target)


def same_folder(one: Path, other: Path) -> bool:
    """Return True if two paths lead to the same folder; return False if either is unreadable."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def relative_link(name: Path, target: Path) -> Path:
    """Return the relative target of a symbolic link at `name` that leads to `target`; both are paths of the archive."""
    return Path(os.path.relpath(target, name.parent))
