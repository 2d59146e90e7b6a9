"""A run of `cryofs compress`: sources -> an archive, movie by movie; failures are reported and the rest is done.

The order is what makes a kill harmless: a gain reference is durable before any movie that names it gets its final name,
and a movie has its final name only once the file was read back and compared.
"""

import contextlib
import time
from collections.abc import Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from cryofs.archive import scan
from cryofs.archive.progress import as_told
from cryofs.archive.scan import Job, Kind
from cryofs.compress import processes
from cryofs.compress.existing import MovieInfo, is_copy, is_done, look_at
from cryofs.compress.folders import Folders
from cryofs.compress.full_disk import full_disk, is_full
from cryofs.compress.movie_task import Archiver, CompressOptions, Stored
from cryofs.compress.others import Others
from cryofs.compress.plain_copies import plain_job, plain_target, remove_plain_copy
from cryofs.compress.processes import NoProcessError, Outcome
from cryofs.compress.row_blocks import Workers
from cryofs.compress.session_gains import SessionGains
from cryofs.compress.summary import Listener, Summary
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError, FormatError, FullDiskError, NotSmallerError
from cryofs.storage import atomic_file
from cryofs.storage.checksum_lists import ChecksumLists

# Processes take as long to start as a gigabyte takes to store. With many cores, each of these has several.
_WORTH_PROCESSES = 1 << 30
_MAX_PROCESSES = 16


def compress(paths: Iterable[Path], archive: Path, options: CompressOptions, listener: Listener) -> Summary:
    """Archive movies, folders and lists.

    Raises
    ------
    GainError
        The gain reference given cannot be used.
    """
    started = time.monotonic()
    summary = Summary()
    jobs = _collect(list(paths), archive, options, listener, summary)
    if jobs:
        _archive(jobs, archive, options, listener, summary)
    summary.seconds = time.monotonic() - started
    return summary


def _collect(
    paths: list[Path], archive: Path, options: CompressOptions, listener: Listener, summary: Summary
) -> list[Job]:
    """Return the jobs for all sources; report those that cannot be archived and links that lead out."""
    inside = [path for path in paths if scan.lies_in(path, archive)]
    existing = next((folder for folder in (archive, *archive.absolute().parents) if folder.is_dir()), archive)
    jobs, problems = scan.collect(
        [path for path in paths if path not in inside],
        archive,
        render_eer=options.rendering is not None,
        folds_case=atomic_file.folds_case(existing),
        links=options.links,
    )
    problems += [
        scan.Problem(path, ArchiveError(f"{path}: lies in the archive; name another archive with -o"))
        for path in inside
    ]
    for problem in problems:
        summary.failed += 1
        listener.failed(problem.source, problem.error)
    for job in jobs:
        if job.outside is not None:
            summary.links_outside += 1
            choice = "kept as it is" if options.links == "keep" else "use --follow-links or --keep-links"
            listener.note(f"{job.source}: a symbolic link that {job.outside}; {choice}")
    return jobs


def _archive(jobs: list[Job], archive: Path, options: CompressOptions, listener: Listener, summary: Summary) -> None:
    """Do all jobs; a full disk ends the run, and a failed run leaves no empty folders."""
    walked = [job for job in jobs if job.kind is Kind.FOLDER]
    with Folders(archive, [job.source for job in walked]) as folders:
        try:
            folders.make(Path())
            with ThreadPoolExecutor(options.jobs) as pool:
                _Run(archive, options, listener, pool, summary).do(jobs, folders)
        except BaseException:
            folders.remove_empty(jobs)
            raise
        if summary.failed:
            folders.remove_empty(jobs)
    for job in reversed(walked):
        # the deepest first; the root keeps its own times and mode
        target = archive / job.target
        if job.target == Path() or not target.is_dir():
            continue
        try:
            atomic_file.copy_times(job.source, target)
        except OSError as error:
            summary.failed += 1
            text = f"{job.source}: its times and mode were not kept: {explain(error)}"
            listener.failed(job.source, ArchiveError(text))


class _Run:
    """The state of one run: its gain references, its figures."""

    def __init__(self, archive: Path, options: CompressOptions, listener: Listener, pool: Executor, summary: Summary):
        self._archive = archive
        self._options = options
        self._listener = listener
        self._archiver = Archiver(archive, options, Workers(pool, options.jobs))
        self._archiver.eer_gains.report = listener.note
        self._references = self._archiver.references
        self._gains = SessionGains(self._archiver, pool, listener.frame_row, listener.note)
        # whether processes are ready that store several movies at a time; None while that is open
        self._several: bool | None = None
        self._lists = ChecksumLists()
        # movies that are kept as plain copies, with the reasons
        self._plain: dict[Job, CryofsError] = {}
        # jobs that are neither done nor failed
        self._waiting: set[Job] = set()
        self.summary = summary

    def do(self, jobs: list[Job], folders: Folders) -> None:
        """Do all jobs; if the disk is full, report what is not done."""
        self._waiting = {job for job in jobs if job.kind is not Kind.FOLDER}
        try:
            jobs = self.make_folders(jobs, folders)
            self.archive_movies([job for job in jobs if job.kind in (Kind.MOVIE, Kind.EER)])
            self.record_references()
            self.copy_others([job for job in jobs if job.kind in (Kind.FILE, Kind.LINK)])
        except FullDiskError as error:
            self._end(str(error))
        except OSError as error:
            if not is_full(error):
                raise
            self._end(str(error.strerror))

    def _end(self, reason: str) -> None:
        self.summary.unfinished = len(self._waiting)
        self.fail(self._archive, full_disk(self._archive, reason, self._waiting, self.summary.ratio))

    def make_folders(self, jobs: list[Job], folders: Folders) -> list[Job]:
        """Make the folders that targets need; the jobs whose folder is there."""
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
                self.fail(job.source, errors[_folder_of(job)], job)
        return [job for job in jobs if _folder_of(job) not in errors]

    def archive_movies(self, jobs: list[Job]) -> None:
        """Store all movies that are not in the archive yet, after the gain references that they need."""
        usable: list[tuple[Job, MovieInfo]] = []
        original_bytes = 0
        for job in jobs:
            if (info := self._look_at(job)) is not None:
                usable.append((job, info))
                original_bytes += info.original_bytes
                self._prepare_processes(len(usable), original_bytes)
        self._listener.begin(len(usable), sum(info.shape[0] for _, info in usable))
        if self._options.gain == "auto":
            self._gains.estimate_missing([info for job, info in usable if job.kind is Kind.MOVIE])
        for damaged in self._references.damaged:
            self._listener.note(f"{damaged}; no movie of this run uses it")
        with contextlib.closing(self._store_all([job for job, _ in usable])) as outcomes:
            for job, outcome in outcomes:
                self._take(job, outcome)

    def _look_at(self, job: Job) -> MovieInfo | None:
        """Return what is known of a movie that is to be stored; None if it is done, or kept plain, or failed."""
        try:
            with self._archiver.open(job) as movie:
                info = look_at(movie, job.source)
                self._gains.keep_for(movie)
            if self._options.only_do_unfinished and is_done(self._archive / job.target, info, self._references):
                self.summary.skipped += 1
                self._waiting.discard(job)
                self._remove_plain_copy(job)
                return None
            if self._options.only_do_unfinished and self._is_kept_plain(job):
                self._waiting.discard(job)
                self.summary.kept_plain += 1
                self.summary.up_to_date += 1
                return None
            return info
        except FormatError as error:
            self._keep_plain(job, error)
        except (CryofsError, OSError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            self.fail(job.source, error, job)
        return None

    def _take(self, job: Job, outcome: Stored | Exception) -> None:
        """Take note of what became of a movie."""
        if isinstance(outcome, Stored):
            self._waiting.discard(job)
            self._note_stored(job, outcome)
            try:
                self._remove_plain_copy(job)
            except (CryofsError, OSError) as error:
                self.fail(job.source, error)
        elif isinstance(outcome, FullDiskError):
            raise outcome
        elif isinstance(outcome, NotSmallerError):
            self._keep_plain(job, outcome)
        else:
            self.fail(job.source, outcome, job)

    def _keep_plain(self, job: Job, reason: CryofsError) -> None:
        """Have a file copied that cannot be archived as a movie, unless that is to be a failure."""
        self._waiting.discard(job)
        if self._options.strict or job.kind is not Kind.MOVIE:
            self.fail(job.source, reason)
            return
        try:
            copy = plain_job(job, self._archive, reason)
        except CryofsError as error:
            self.fail(job.source, error)
        else:
            self._plain[copy] = reason
            self._waiting.add(copy)

    def _is_kept_plain(self, job: Job) -> bool:
        """Return True if the archive has an intact-looking plain copy of a movie, with its checksum."""
        plain = self._archive / plain_target(job)
        strict = self._options.strict or job.kind is not Kind.MOVIE
        return not strict and is_copy(job.source, plain) and self._lists.recorded(plain) is not None

    def _remove_plain_copy(self, job: Job) -> None:
        if job.kind is Kind.MOVIE:
            remove_plain_copy(self._archive / job.target, self._archive / plain_target(job), self._lists)

    def record_references(self) -> None:
        """Record the checksums of the gain references that movies of this run need."""
        try:
            self._references.record_checksums()
        except (CryofsError, OSError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            self.fail(self._archive, as_told(error, self._archive))

    def _prepare_processes(self, movies: int, original_bytes: int) -> None:
        """Have processes made ready as soon as so many movies are worth it."""
        too_few = min(movies, self._options.jobs) < 2 or original_bytes < _WORTH_PROCESSES
        if self._several is not None or too_few:
            return
        try:
            processes.prepare()
            self._several = True
        except OSError as error:
            self._several = False
            self._listener.note(f"storing one movie at a time, as no processes can be started ({error})")

    def _store_all(self, jobs: list[Job]) -> Generator[Outcome, None, None]:
        if self._several:
            count = min(self._options.jobs, len(jobs), _MAX_PROCESSES)
            for job, outcome in processes.store_all(jobs, self._archive, self._options, count, self._listener.frames):
                yield job, self._store(job) if isinstance(outcome, NoProcessError) else outcome
            return
        for job in jobs:
            yield job, self._store(job)

    def _store(self, job: Job) -> Stored | CryofsError:
        try:
            return self._archiver.store(job, self._listener.frames)
        except CryofsError as error:
            return error

    def _note_stored(self, job: Job, stored: Stored) -> None:
        self.summary.movies += 1
        self.summary.original_bytes += stored.source_bytes
        self.summary.stored_bytes += stored.stored_bytes
        if stored.note:
            self._listener.note(stored.note)
        if stored.replaced:
            self._note_replaced(stored.replaced)
        self._listener.movie_done(job.target, stored.source_bytes, stored.stored_bytes)

    def _note_replaced(self, text: str) -> None:
        self.summary.replaced += 1
        self._listener.note(text)

    def copy_others(self, jobs: list[Job]) -> None:
        """Copy the files that are not movies, and those that are kept plain; store links."""
        others = Others(self._archive, self._options, self.summary, self._listener, self._plain)
        try:
            with others:
                for job in sorted([*jobs, *self._plain], key=lambda job: job.target):
                    others.store(job)
                    self._waiting.discard(job)
        finally:
            self._waiting |= others.undone

    def fail(self, source: Path, error: Exception, job: Job | None = None) -> None:
        """Report a source that cannot be archived."""
        if job is not None:
            self._waiting.discard(job)
        self.summary.failed += 1
        self._listener.failed(source, error)


def _folder_of(job: Job) -> Path:
    """The folder that a job writes into, relative to the root."""
    return job.target if job.kind is Kind.FOLDER else job.target.parent
