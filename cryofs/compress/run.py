"""Run `cryofs compress`; a failed source is reported, and the run continues with the next one.

A run may be killed at any time. A gain reference is made durable before a movie that needs it gets its final name. A
movie gets its final name only after the file was read back and compared.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryofs.archive import scan
from cryofs.archive.changing import changing
from cryofs.archive.jobs import Job, Kind
from cryofs.compress.folders import Folders
from cryofs.compress.full_disk import full_disk, is_full
from cryofs.compress.ledger import Ledger
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.movies import Movies
from cryofs.compress.others import Others
from cryofs.compress.share import Share, share_of
from cryofs.compress.summary import Listener, Summary
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError, FullDiskError
from cryofs.storage.archive_lock import Activity
from cryofs.storage.atomic_file import folds_case
from cryofs.storage.folders import copy_times


def compress(paths: Iterable[Path], archive: Path, options: CompressOptions, listener: Listener) -> Summary:
    """Archive movies, folders and lists, and return the summary of the run.

    Raises
    ------
    GainError
        The given gain reference is unreadable or invalid.
    ArchiveError
        Another command excludes changes of the archive.
    """
    started = time.monotonic()
    summary = Summary()
    share = _collect(list(paths), archive, options, listener, summary)
    if share.jobs or share.movies_elsewhere:
        _archive(share, archive, options, listener, summary)
    summary.seconds = time.monotonic() - started
    return summary


def _collect(paths: list[Path], archive: Path, options: CompressOptions, listener: Listener, summary: Summary) -> Share:
    """Return the share of this part; report unsuitable sources, and links that lead out of the sources."""
    inside = [path for path in paths if scan.lies_in(path, archive)]
    existing = next((folder for folder in (archive, *archive.absolute().parents) if folder.is_dir()), archive)
    jobs, problems = scan.collect(
        [path for path in paths if path not in inside],
        archive,
        render_eer=options.rendering is not None,
        unpack=options.unpack,
        folds_case=folds_case(existing),
        links=options.links,
    )
    problems += [
        scan.Problem(path, ArchiveError(f"{path}: inside the archive; pass another archive with -o")) for path in inside
    ]
    share = share_of(options.part, paths, jobs, problems)
    if not options.part.is_whole:
        movies = sum(job.kind.is_movie for job in share.jobs)
        total = sum(job.kind.is_movie for job in jobs)
        listener.note(f"{options.part}: {movies} of {total} movies")
    for problem in share.problems:
        summary.failed += 1
        listener.failed(problem.source, problem.error)
    for job in share.jobs:
        if job.outside is not None:
            summary.links_outside += 1
            choice = "stored as a link" if options.links == "keep" else "pass --follow-links or --keep-links"
            listener.note(f"{job.source}: symbolic link that {job.outside}; {choice}")
    return share


def _archive(share: Share, archive: Path, options: CompressOptions, listener: Listener, summary: Summary) -> None:
    """Process all jobs, then copy times and modes of folders; if the run fails, remove the empty folders it created.

    Of several parts, the last one to end sets the times; no part removes folders that another may need.
    """
    jobs = share.jobs
    walked = [job for job in jobs if job.kind is Kind.FOLDER]
    ledger = Ledger((job for job in jobs if job.kind is not Kind.FOLDER), summary, listener)
    with Folders(archive, [job.source for job in walked]) as folders:
        try:
            folders.make(Path())
            _carry_out(share, folders, archive, options, ledger)
        except BaseException:
            if options.part.is_whole:
                folders.remove_empty(jobs)
            raise
        if summary.failed and options.part.is_whole:
            folders.remove_empty(jobs)
    for job in reversed(walked):
        # deepest first, because writing into a folder changes its times; the root keeps its own
        target = archive / job.target
        if job.target == Path() or not target.is_dir():
            continue
        try:
            copy_times(job.source, target)
        except OSError as error:
            summary.failed += 1
            text = f"{job.source}: times and mode not copied ({explain(error)})"
            listener.failed(job.source, ArchiveError(text))


def _carry_out(share: Share, folders: Folders, archive: Path, options: CompressOptions, ledger: Ledger) -> None:
    """Create the folders of all jobs, then process the jobs; if the disk is full, stop and report unfinished jobs."""

    def end(reason: str) -> None:
        ledger.summary.unfinished = len(ledger.waiting)
        ledger.fail(archive, full_disk(archive, reason, ledger.waiting, ledger.summary.ratio))

    try:
        with changing(archive, Activity.COMPRESS, ledger.listener.note, break_lock=options.break_lock):
            jobs = _with_folders(share.jobs, folders, ledger)
            movies = [job for job in jobs if job.kind.is_movie]
            _store_movies(movies, share.movies_elsewhere, archive, options, ledger)
            _store_others([job for job in jobs if job.kind in (Kind.FILE, Kind.LINK)], archive, options, ledger)
    except FullDiskError as error:
        end(str(error))
    except OSError as error:
        if not is_full(error):
            raise
        end(str(error.strerror))


def _with_folders(jobs: list[Job], folders: Folders, ledger: Ledger) -> list[Job]:
    """Create the folders of all targets; return the jobs whose folder exists, and report the others as failed."""
    errors: dict[Path, Exception] = {}
    linked = {job.target: job.source for job in jobs if job.kind is Kind.FOLDER and job.source.is_symlink()}
    for folder in sorted({Path(), *map(_folder_of, jobs)}):
        try:
            if folder in linked:
                folders.remove_link(folder, linked[folder])
            folders.make(folder)
        except (CryofsError, OSError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            errors[folder] = error
    for job in jobs:
        if _folder_of(job) in errors:
            ledger.fail(job.source, errors[_folder_of(job)], job)
    return [job for job in jobs if _folder_of(job) not in errors]


def _store_movies(
    jobs: list[Job], elsewhere: list[Job], archive: Path, options: CompressOptions, ledger: Ledger
) -> None:
    with ThreadPoolExecutor(options.jobs) as pool:
        movies = Movies(archive, options, ledger, pool)
        try:
            movies.store(jobs, elsewhere)
        finally:
            movies.close()
        movies.record_references()


def _store_others(jobs: list[Job], archive: Path, options: CompressOptions, ledger: Ledger) -> None:
    """Copy all files that are not archived as movies, and store all links."""
    others = Others(archive, options, ledger.summary, ledger.listener, ledger.plain)
    try:
        with others:
            for job in sorted([*jobs, *ledger.plain], key=lambda job: job.target):
                others.store(job)
                ledger.done(job)
    finally:
        ledger.waiting |= others.undone


def _folder_of(job: Job) -> Path:
    """Return the folder to which a job writes, relative to the root."""
    return job.target if job.kind is Kind.FOLDER else job.target.parent
