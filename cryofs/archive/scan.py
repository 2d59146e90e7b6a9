"""Convert movies, folders and lists to jobs, each with its target in the archive."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from cryofs.archive.jobs import Job as Job
from cryofs.archive.jobs import Kind as Kind
from cryofs.archive.jobs import Problem as Problem
from cryofs.archive.links import resolved
from cryofs.archive.twins import without_superseded
from cryofs.archive.walking import Link, Places, items_of, same_folder
from cryofs.config.choices import LinkChoice
from cryofs.errors import ArchiveError
from cryofs.formats.archive_names import archived_name, archived_path, is_own_name
from cryofs.movies.registry import may_have_record, rendered_name, unpackable_name
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.system.paths import is_file


def collect(
    sources: Iterable[Path],
    archive: Path,
    *,
    render_eer: bool = False,
    unpack: bool = False,
    folds_case: bool = False,
    links: LinkChoice = "follow",
) -> tuple[list[Job], list[Problem]]:
    """Return the jobs for all sources, sorted by target, and the problems with sources that cannot be archived.

    Files in a folder keep their relative paths below the root of the archive. A single file is stored in the root, and
    a movie of a list under its path in the list (without the leading ``/`` of an absolute path). With `render_eer`, EER
    files become movies of their fractions. With `folds_case`, names that differ only in case count as the same name.

    A symbolic link in a folder remains a link if it leads to the corresponding file of the archive; `links` determines
    how all other links are stored. A movie with several links to it is archived once.
    """
    jobs: dict[str, Job] = {}
    problems = []
    for item in _all_items(sources, archive, links):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        if own := next((part for part in item.target.parts if is_own_name(part)), None):
            # skipped, because the archive has its own checksum lists
            if own != LIST_NAME:
                text = f"{item.source}: reserved name ({own}); rename the file, or mount SOURCE if it is an archive"
                problems.append(Problem(item.source, ArchiveError(text)))
            continue
        if render_eer:
            item = _made(item, Kind.EER, rendered_name)
        if unpack:
            item = _made(item, Kind.PACKED, unpackable_name)
        name = str(item.target)
        key = name.casefold() if folds_case else name
        twin = jobs.setdefault(key, item)
        if twin.kind in (Kind.EER, Kind.PACKED) and item.kind is Kind.MOVIE:
            # an existing movie takes precedence over one that has to be made
            jobs[key], item, twin = item, twin, item
        if not _is_same(twin, item):
            text = f"{item.source}: name already taken by {twin.source} ({twin.target}); rename one of the files"
            problems.append(Problem(item.source, ArchiveError(text)))
    # a movie takes precedence over a link with the same original name
    movies = {job.target for job in jobs.values() if job.kind is not Kind.LINK}
    kept = [job for job in jobs.values() if job.kind is not Kind.LINK or archived_path(job.target) not in movies]
    return sorted(kept, key=lambda job: job.target), problems


def _all_items(sources: Iterable[Path], archive: Path, links: LinkChoice) -> Iterator[Job | Problem]:
    """Yield the jobs for all sources; links come last, after the targets of all other files are known."""
    places = Places()
    found: list[Link] = []
    for item in chain.from_iterable(items_of(source, archive, places) for source in sources):
        if isinstance(item, Link):
            found.append(item)
        else:
            yield item
    waiting = deque(sorted(found, key=lambda link: link.target))
    while waiting:
        for item in resolved(waiting.popleft(), archive, places, links):
            if isinstance(item, Link):
                waiting.append(item)
            else:
                yield item


def lies_in(source: Path, archive: Path) -> bool:
    """Return True if a source is a folder below the archive; return False if it is unreadable."""
    try:
        return source.is_dir() and is_below(source, archive)
    except OSError:
        return False  # `collect` reports the error


def is_below(place: Path, folder: Path) -> bool:
    """Return True if a path is below a folder; the path need not exist."""
    return any(same_folder(parent, folder) for parent in Path(os.path.realpath(place)).parents)


def collect_archived(paths: Iterable[Path], *, keep_links: bool = False) -> tuple[list[Job], list[Problem]]:
    """Return the jobs for files to verify or extract, and the problems with unreadable paths.

    A target is relative to the folder that the user passed; the target of a single file is its name. All files have the
    kind FILE. A link to a TIFF file counts as a file unless `keep_links` is set. Other links in folders have the kind
    LINK, because their targets have separate jobs. Where a plain file and its archived movie exist,
    the one that counts has a job; if neither counts, this is a problem.
    """
    jobs: list[Job] = []
    problems = []
    for item in chain.from_iterable(items_of(path, None, Places()) for path in paths):
        if isinstance(item, Problem):
            problems.append(item)
        elif isinstance(item, Job):
            jobs.append(item)
        elif not keep_links and may_have_record(item.path.name) and is_file(item.path):
            jobs.append(Job(Kind.FILE, item.path, item.target))
        else:
            jobs.append(Job(Kind.LINK, item.path, item.target))
    jobs, conflicts = without_superseded(jobs)
    return jobs, problems + conflicts


def _made(job: Job, kind: Kind, name_of: Callable[[str], str | None]) -> Job:
    """Return the job that makes a movie of a file, or that links to the movie; return other jobs unchanged.

    Parameters
    ----------
    name_of : callable
        Returns the name of the movie that is made of a file, or None.
    """
    name = name_of(job.target.name)
    if name is None:
        return job
    if job.kind is Kind.FILE:
        return Job(kind, job.source, job.target.with_name(archived_name(name)), plain=job.target.name)
    if job.kind is not Kind.LINK or job.outside or not is_file(job.source):
        return job
    text = job.link or job.source.readlink()
    linked = name_of(text.name)
    return replace(job, target=job.target.with_name(name), link=text.with_name(linked)) if linked else job


def _is_same(one: Job, other: Job) -> bool:
    """Return True if two jobs with the same target do not conflict: both are folders, or both have the same source.

    Jobs whose targets differ in case always conflict.
    """
    if one.target != other.target:
        return False
    if one.kind is other.kind is Kind.FOLDER:
        return True
    try:
        return one.source == other.source or os.path.samestat(one.source.lstat(), other.source.lstat())
    except OSError:
        return False
