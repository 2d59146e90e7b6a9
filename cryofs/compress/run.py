"""A run of `cryofs compress`: sources -> an archive, movie by movie; what fails is told and the rest is done.

The order is what makes a kill harmless: a gain reference is durable before any movie that names it gets its final name,
and a movie has its final name only once the file was read back and compared.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryofs.archive import scan
from cryofs.archive.scan import Job, Kind
from cryofs.compress import processes
from cryofs.compress.existing import (
    MovieInfo,
    is_copy,
    is_done,
    look_at,
    refuse_clash,
    refuse_without_gain,
    replaced_text,
)
from cryofs.compress.folders import Folders
from cryofs.compress.movie_task import Archiver, CompressOptions, Stored
from cryofs.compress.processes import NoProcessError, Outcome
from cryofs.compress.row_blocks import Workers
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.estimation import FrameRow
from cryofs.gain.match import fits
from cryofs.gain.references import estimate_from
from cryofs.gain.samples import take_samples
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGainMovie
from cryofs.movies.eer_rendering import gain_header
from cryofs.movies.mrc import MrcMovie
from cryofs.storage import atomic_file

# With fewer frames than this, a gain reference would hold as much as the movies.
_MIN_FRAMES_TO_ESTIMATE = 3
# Processes take as long to start as a gigabyte takes to store. With many cores, each of these has several.
_WORTH_PROCESSES = 1 << 30
_MAX_PROCESSES = 16


@dataclass
class Summary:
    """Figures of a run; bytes are those of the movies done, of EER files where fractions were made.

    `replaced` counts movies and files that took the place of others of their name, `copied` all files that were copied.
    """

    movies: int = 0
    failed: int = 0
    skipped: int = 0
    replaced: int = 0
    copied: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Stored size as a share of the original one."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else None


class Listener(Protocol):
    """Who is told how a run goes."""

    def begin(self, movies: int, frames: int) -> None:
        """The run is about to write this many movies; each frame counts twice, written and checked."""

    def frame_row(self, row: FrameRow) -> None:
        """A frame went into a gain estimate."""

    def frames(self, count: int) -> None:
        """So many frames more (or less) are done."""

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        """A movie is in the archive."""

    def note(self, text: str) -> None:
        """Something the user may want to know."""

    def failed(self, name: Path, error: Exception) -> None:
        """A source could not be archived."""


def compress(paths: Iterable[Path], archive: Path, options: CompressOptions, listener: Listener) -> Summary:
    """Archive movies, folders and lists.

    Raises
    ------
    GainError
        The gain reference given cannot be used.
    """
    started = time.monotonic()
    paths = list(paths)
    atomic_file.make_folders(archive)
    inside = [path for path in paths if scan.lies_in(path, archive)]
    with ThreadPoolExecutor(options.jobs) as pool:
        run = _Run(archive, options, listener, pool)
        for path in inside:
            run.fail(path, ArchiveError(f"{path}: lies in the archive; name another archive with -o"))
        jobs = run.collect([path for path in paths if path not in inside])
        walked = [job for job in jobs if job.kind is Kind.FOLDER]
        with Folders(archive, [job.source for job in walked]) as folders:
            jobs = run.make_folders(jobs, folders)
            run.archive_movies([job for job in jobs if job.kind in (Kind.MOVIE, Kind.EER)])
            run.copy_others([job for job in jobs if job.kind in (Kind.FILE, Kind.LINK)])
        run.date_folders([job for job in jobs if job.kind is Kind.FOLDER and job.target != Path()])
    run.summary.seconds = time.monotonic() - started
    return run.summary


class _Run:
    """The state of one run: its gain references, its figures."""

    def __init__(self, archive: Path, options: CompressOptions, listener: Listener, pool: Executor):
        self._archive = archive
        self._options = options
        self._listener = listener
        self._pool = pool
        self._archiver = Archiver(archive, options, Workers(pool, options.jobs))
        self._references = self._archiver.references
        # sizes of images for which the gain reference of EER movies is in the archive
        self._eer_grids: set[tuple[int, int]] = set()
        # whether processes are ready that store several movies at a time; None while that is open
        self._several: bool | None = None
        self.summary = Summary()

    def collect(self, paths: list[Path]) -> list[Job]:
        render_eer, folds_case = self._options.rendering is not None, atomic_file.folds_case(self._archive)
        jobs, problems = scan.collect(paths, self._archive, render_eer=render_eer, folds_case=folds_case)
        for problem in problems:
            self.fail(problem.source, problem.error)
        return jobs

    def make_folders(self, jobs: list[Job], folders: Folders) -> list[Job]:
        """Make the folders that targets need; the jobs whose folder is there."""
        errors: dict[Path, Exception] = {}
        for folder in sorted({Path(), *map(_folder_of, jobs)}):
            try:
                folders.make(folder)
            except (CryofsError, OSError) as error:
                errors[folder] = error
        for job in jobs:
            if _folder_of(job) in errors:
                self.fail(job.source, errors[_folder_of(job)])
        return [job for job in jobs if _folder_of(job) not in errors]

    def archive_movies(self, jobs: list[Job]) -> None:
        usable: list[tuple[Job, MovieInfo]] = []
        original_bytes = 0
        for job in jobs:
            try:
                with self._archiver.open(job) as movie:
                    info = look_at(movie, job.source)
                    if isinstance(movie, EerMovie):
                        self._keep_eer_gain(movie)
                if self._options.only_do_unfinished and is_done(self._archive / job.target, info, self._references):
                    self.summary.skipped += 1
                else:
                    usable.append((job, info))
                    original_bytes += info.original_bytes
                    self._prepare_processes(len(usable), original_bytes)
            except (CryofsError, OSError) as error:
                self.fail(job.source, error)
        self._listener.begin(len(usable), 2 * sum(info.shape[0] for _, info in usable))
        if self._options.gain == "auto":
            self._estimate_missing([info for job, info in usable if job.kind is Kind.MOVIE])
        for damaged in self._references.damaged:
            self._listener.note(f"{damaged}; no movie of this run uses it")
        for job, outcome in self._store_all([job for job, _ in usable]):
            if isinstance(outcome, Stored):
                self._note_stored(job, outcome)
            else:
                self.fail(job.source, outcome)

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

    def _store_all(self, jobs: list[Job]) -> Iterator[Outcome]:
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
        for job in jobs:
            target = self._archive / job.target
            try:
                if job.kind is Kind.LINK:
                    atomic_file.copy_link(job.source, target)
                elif not is_copy(job.source, target):
                    held = atomic_file.regular_file(target)
                    self._copy(job, target)
                    if held is not None:
                        self._note_replaced(replaced_text(target, held.st_size, held.st_mtime_ns))
                elif not self._options.only_do_unfinished:
                    self._copy(job, target)
            except CryofsError as error:
                self.fail(job.source, error)
            except OSError as error:
                self.fail(job.source, ArchiveError(f"{job.source}: not copied: {explain(error)}"))

    def _copy(self, job: Job, target: Path) -> None:
        refuse_clash(job.source, target)
        refuse_without_gain(job.source)
        atomic_file.copy_file(job.source, target)
        self.summary.copied += 1

    def date_folders(self, jobs: list[Job]) -> None:
        """Give folders the times and modes of their originals, the deepest first."""
        for job in reversed(jobs):
            try:
                atomic_file.copy_times(job.source, self._archive / job.target)
            except OSError as error:
                self.fail(job.source, ArchiveError(f"{job.source}: its times and mode were not kept: {explain(error)}"))

    def _keep_eer_gain(self, movie: EerMovie) -> None:
        """Put the gain reference of a movie to be rendered into the archive, to be multiplied, on the movie's grid."""
        rendering = movie.rendering
        if rendering.gain is None or movie.shape[1:] in self._eer_grids:
            return
        with EerGainMovie(rendering.gain, gain_header(movie.facts, rendering), self._archiver.eer_gains) as reference:
            self._references.keep_eer(reference.header + reference.mrc_frame(0).tobytes())
        self._eer_grids.add(movie.shape[1:])

    def _estimate_missing(self, infos: list[MovieInfo]) -> None:
        """Estimate gain references until every gain-normalised movie has one that fits."""
        by_size = defaultdict(list)
        for info in infos:
            if info.mode == MODE_FLOAT32:
                by_size[info.shape[1:]].append(info)
        # the reference of the largest part of the run gets the plain name
        for same_size in sorted(by_size.values(), key=lambda infos: -sum(info.bytes for info in infos)):
            waiting = [info for info in same_size if not self._fits(info)]
            while sum(info.shape[0] for info in waiting) >= _MIN_FRAMES_TO_ESTIMATE:
                paths = [info.path for info in waiting]
                estimation = estimate_from(paths, take_samples, self._pool, self._listener.frame_row)
                reference = estimation and estimation.reference(self._pool)
                # the first movie has had its chance, fitting or not
                first, *waiting = waiting
                if estimation and reference and self._fits(first, reference):
                    self._references.add(reference, estimation.pixel_size)
                    waiting = [info for info in waiting if not self._fits(info)]

    def _fits(self, info: MovieInfo, reference: GainReference | None = None) -> bool:
        """Whether a reference, or any of the archive's, serves a movie."""
        if reference is None and not self._references.of_size(info.shape[1:]):
            return False
        try:
            with MrcMovie(info.path) as movie:
                samples = take_samples(movie)
        except (CryofsError, OSError):
            return False  # archiving this movie will say what is wrong with it
        if reference is None:
            return self._references.fitting(info.shape[1:], samples) is not None
        return fits(reference, samples)

    def fail(self, source: Path, error: Exception) -> None:
        self.summary.failed += 1
        self._listener.failed(source, error)


def _folder_of(job: Job) -> Path:
    """The folder that a job writes into, relative to the root."""
    return job.target if job.kind is Kind.FOLDER else job.target.parent
