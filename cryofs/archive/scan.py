"""What a run is asked to archive: movies, folders, lists -> jobs, each with its place in the archive."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from pathlib import Path

from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats import movie_list
from cryofs.formats.archive_names import EER_SUFFIX, MOVIE_SUFFIXES, archived_name, fractions_name
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.system.paths import is_file


class Kind(Enum):
    """What becomes of a source."""

    MOVIE = "movie"
    EER = "EER movie to be rendered"
    FILE = "file"
    LINK = "link"
    FOLDER = "folder"


@dataclass(frozen=True)
class Job:
    """A source and its target, relative to the root of the archive."""

    kind: Kind
    source: Path
    target: Path


@dataclass(frozen=True)
class Problem:
    """A source that cannot be archived; the others can."""

    source: Path
    error: CryofsError


def collect(
    sources: Iterable[Path], archive: Path, *, render_eer: bool = False, folds_case: bool = False
) -> tuple[list[Job], list[Problem]]:
    """Jobs for all sources, sorted by target, and what cannot be done.

    A folder's tree is kept below the root of the archive. A movie given by itself goes to the root; a movie in a list
    goes where the list says, relative to the root (without the leading ``/`` of an absolute path). With `render_eer`,
    EER files become movies of their fractions. With `folds_case`, names that differ by case only are one name.
    """
    jobs: dict[str, Job] = {}
    problems = []
    for item in chain.from_iterable(_items_of(source, archive) for source in sources):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        if any(part.startswith(DRAFT_PREFIX) for part in item.target.parts):
            text = f"{item.source}: called like an unfinished file of cryofs; rename it, or remove it if it is one"
            problems.append(Problem(item.source, ArchiveError(text)))
            continue
        if render_eer and item.kind is Kind.FILE and item.source.suffix == EER_SUFFIX:
            item = _rendered(item)
        name = str(item.target)
        key = name.casefold() if folds_case else name
        twin = jobs.setdefault(key, item)
        if (twin.kind, item.kind) == (Kind.EER, Kind.MOVIE):
            # a movie that is there wins over one that would be made
            jobs[key], item, twin = item, twin, item
        if not _is_same(twin, item):
            text = f"{item.source}: {twin.source} already becomes {twin.target} in the archive; rename one of them"
            problems.append(Problem(item.source, ArchiveError(text)))
    return sorted(jobs.values(), key=lambda job: job.target), problems


def lies_in(source: Path, archive: Path) -> bool:
    """Whether a folder lies in the archive, where what it becomes would be put among its own files."""
    try:
        return source.is_dir() and is_below(source, archive)
    except OSError:
        return False  # what cannot be looked at is told of when it is collected


def is_below(place: Path, folder: Path) -> bool:
    """Whether a place, which need not be there, lies in a folder or deeper."""
    return any(_same_folder(parent, folder) for parent in Path(os.path.realpath(place)).parents)


def collect_archived(paths: Iterable[Path]) -> tuple[list[Job], list[Problem]]:
    """Files to verify or extract, all of kind FILE, with targets below the folder, file or list that names them."""
    jobs: list[Job] = []
    problems = []
    for item in chain.from_iterable(_items_of(path, None) for path in paths):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            jobs.append(item)
    return jobs, problems


def _items_of(source: Path, archive: Path | None) -> Iterator[Job | Problem]:
    """What a source stands for; where `archive` is None, files keep their names."""
    try:
        if source.is_dir() and archive is not None and _same_folder(source, archive):
            text = f"{source}: source and archive are one folder; name another archive with -o"
            yield Problem(source, ArchiveError(text))
        elif source.is_dir():
            yield from _walk(source, archive)
        elif not source.is_file():
            what = "neither file nor folder" if source.exists() else "no such file or folder"
            yield Problem(source, ArchiveError(f"{source}: {what}; check the path"))
        elif source.suffix in movie_list.SUFFIXES:
            yield from _listed(source, archive)
        else:
            yield _job(source, Path(source.name), archive)
    except OSError as error:
        yield _unreadable(source, error)


def _listed(source: Path, archive: Path | None) -> Iterator[Job | Problem]:
    """Movies in a list, relative to where the command runs, as RELION has it, or else to the list.

    In an archive a list of originals serves for their archived movies, and those beside the list come first: the
    command may run where the originals are.
    """
    try:
        names = movie_list.read_list(source)
    except CryofsError as error:
        yield Problem(source, error)
        return
    for name in names:
        places = [Path(name), source.parent / name]
        if archive is None:
            places = [place for one in (archived_name(name), name) for place in (source.parent / one, Path(one))]
        places = [path for path in places if is_file(path)]
        if places:
            yield _job(places[0], _inside(Path(name)).with_name(places[0].name), archive)
        else:
            text = f"{name}: listed in {source}, but not there; run in the folder where its names begin, or correct it"
            yield Problem(Path(name), ArchiveError(text))


def _walk(folder: Path, archive: Path | None) -> Iterator[Job | Problem]:
    """Everything below a folder, but for the archive itself."""
    unreadable: list[OSError] = []
    for place, names, files in os.walk(folder, onerror=unreadable.append):
        here = Path(place)
        below = here.relative_to(folder)
        yield Job(Kind.FOLDER, here, below)
        for name in sorted([*names, *files]):
            path = here / name
            try:
                if path.is_symlink() and not is_file(path):
                    yield Job(Kind.LINK, path, below / name)
                elif name in names or (archive is None and name.startswith(DRAFT_PREFIX)):
                    continue
                elif path.is_file():
                    yield _job(path, below / name, archive)
                else:
                    yield Problem(path, ArchiveError(f"{path}: neither file nor folder; leave it out of the archive"))
            except OSError as error:
                yield _unreadable(path, error)
        names[:] = [name for name in names if archive is None or not _same_folder(here / name, archive)]
    for found in unreadable:
        yield _unreadable(Path(found.filename), found)


def _unreadable(path: Path, error: OSError) -> Problem:
    return Problem(path, ArchiveError(explain(error, path)))


def _job(source: Path, target: Path, archive: Path | None) -> Job:
    if archive is not None and source.suffix in MOVIE_SUFFIXES:
        return Job(Kind.MOVIE, source, target.with_name(archived_name(target.name)))
    return Job(Kind.FILE, source, target)


def _rendered(job: Job) -> Job:
    return Job(Kind.EER, job.source, job.target.with_name(archived_name(fractions_name(job.target.name))))


def _inside(name: Path) -> Path:
    """A listed path as a path below the archive's root."""
    path = Path(os.path.normpath(name))
    return path.relative_to(path.anchor) if path.is_absolute() else Path(*(part for part in path.parts if part != ".."))


def _is_same(one: Job, other: Job) -> bool:
    """Whether two jobs for one name are one: the same file by two spellings, or folders whose contents go together."""
    if one.target != other.target:
        return False
    if one.kind is other.kind is Kind.FOLDER:
        return True
    try:
        return one.source == other.source or os.path.samestat(one.source.lstat(), other.source.lstat())
    except OSError:
        return False


def _same_folder(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder; none that cannot be looked at does."""
    try:
        return one.samefile(other)
    except OSError:
        return False
