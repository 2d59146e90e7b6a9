"""Store movies one at a time; each process of a run executes this module."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from cryofs.archive.identify import held_movie, is_marked
from cryofs.archive.scan import Job, Kind
from cryofs.compress.existing import inspect, is_done, replaced_text
from cryofs.compress.full_disk import is_full
from cryofs.compress.plain_copies import plain_copy, plain_target
from cryofs.compress.plan import Coding, make_plan
from cryofs.compress.row_blocks import Workers
from cryofs.compress.sources import Known, Sources
from cryofs.compress.writer import OnFrame, archive_movie
from cryofs.config.choices import LinkChoice
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, ChangedError, CryofsError, DamagedError, FullDiskError
from cryofs.execution.parts import WHOLE, Part
from cryofs.formats.archive_names import is_reference_name, original_name
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.formats.record import Record
from cryofs.gain.match import matches
from cryofs.gain.references import Reference, References
from cryofs.gain.samples import Sample, keep_samples, take_samples
from cryofs.kernels.orientation import ORIENTATIONS, UPRIGHT, Orientation
from cryofs.movies import gain_kinds
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.gain_library import load_given
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_rendered
from cryofs.movies.source import SourceMovie
from cryofs.storage.atomic_file import Draft, regular_file
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256
from cryofs.storage.file_state import FileState, state_of
from cryofs.storage.folders import make_writable
from cryofs.system import notices
from cryofs.system.notices import Notice


@dataclass(frozen=True)
class CompressOptions:
    """Options of `cryofs compress`.

    Attributes
    ----------
    gain : Path or str
        A gain reference, a folder of references, "auto" or "none".
    gain_orientation : Orientation
        Orientation to apply to the given gain reference, and to that of EER files.
    rendering : Rendering or None
        Options for rendering EER files to TIFF; None to copy them.
    links : str
        Treatment of links that lead out of the sources: ``"report"``, ``"follow"`` or ``"keep"``.
    strict : bool
        Whether a file with the name of a movie counts as failed instead of being copied if it cannot be archived.
    least_saving : float
        Minimum saving as a fraction of the original size. A movie that saves less is stored as a plain copy.
    break_lock : bool
        Whether commands on other machines that hold the lock of the archive do not count.
    part : Part
        The part of the sources that this run archives.
    gain_wait : float
        How long another part than the first waits for gain references, in seconds.
    """

    gain: Path | Literal["auto", "none"] = "auto"
    gain_orientation: Orientation = UPRIGHT
    coding: Coding = field(default_factory=Coding)
    rendering: Rendering | None = None
    only_do_unfinished: bool = False
    jobs: int = 1
    links: LinkChoice = "report"
    strict: bool = False
    least_saving: float = 0.05
    part: Part = WHOLE
    gain_wait: float = 3600
    break_lock: bool = False


@dataclass(frozen=True)
class Stored:
    """Result of storing a movie.

    Attributes
    ----------
    source_bytes, stored_bytes : int
        Sizes of the source file and of the archived movie in bytes.
    note : str or None
        Message that a given gain reference was not used.
    replaced : str or None
        Message that the movie replaced another original with the same name.
    is_done : bool
        True if another run has stored the movie since this run began.
    notices : list
        Notices of the process that stored the movie.
    """

    source_bytes: int
    stored_bytes: int
    note: str | None = None
    replaced: str | None = None
    is_done: bool = False
    notices: list[Notice] = field(default_factory=list)


class _TakenError(CryofsError):
    """Another run has written the target of a movie since this run began with the movie."""


class Archiver:
    """Writer of the movies of a run.

    Parameters
    ----------
    archive : Path
        Root of the archive.
    """

    def __init__(self, archive: Path, options: CompressOptions, workers: Workers):
        self._archive = archive
        self._options = options
        self._workers = workers
        self.references = References(archive)
        self._given: list[Reference] = []
        if isinstance(options.gain, Path):
            given = options.gain
            self._given = (
                self.references.import_folder(given)
                if given.is_dir()
                else [self.references.import_file(given, options.gain_orientation)]
            )
        if options.rendering is not None and options.rendering.gain is not None:
            # here, so that an invalid reference is reported before the run and not at the first EER file
            gain_kinds.check_eer(options.rendering.gain)
        self.eer_gains = EerGains(options.gain_orientation)
        self.sources = Sources(self._open)

    def _open(self, job: Job) -> SourceMovie:
        if job.kind is Kind.EER and self._options.rendering is not None:
            return open_rendered(job.source, self._options.rendering, self.eer_gains)
        return MrcMovie(job.source)

    def store(self, job: Job, on_frame: OnFrame, known: Known | None = None) -> Stored:
        """Store a movie in the archive and return sizes and messages; close the source.

        Parameters
        ----------
        known : Known or None
            Samples taken by another process; ignored if the file has changed since then.

        Raises
        ------
        CryofsError
            The movie cannot be stored. The target is unchanged.
        """
        try:
            return self._store(job, on_frame, known)
        except CryofsError:
            raise
        except OSError as error:
            if is_full(error):
                raise FullDiskError(error.strerror) from error
            raise ArchiveError(f"{job.source}: not stored ({explain(error)})") from error
        except MemoryError as error:
            raise ArchiveError(f"{job.source}: out of memory ({error}); reduce --jobs") from error
        except Exception as error:
            # an unexpected error in one movie must not end the run
            what = f"{type(error).__name__}: {error}"
            raise ArchiveError(
                f"{job.source}: not stored because of a bug in cryofs ({what}); report this error"
            ) from error
        finally:
            self.sources.release(job)

    def _store(self, job: Job, on_frame: OnFrame, known: Known | None) -> Stored:
        target = self._archive / job.target
        before = _state(target)
        with self.sources.open(job) as movie:
            if self._options.only_do_unfinished and self._is_done(movie, job, target):
                on_frame(movie.shape[0])
                return Stored(movie.stat.st_size, 0, is_done=True)
            replaced = _replaced(movie, job.source, target)
            make_writable(target.parent)
            copy = None if job.kind is Kind.EER else plain_copy(self._archive / plain_target(job), job.source)
            if known is not None and known.state == state_of(movie.stat):
                keep_samples(movie, known.samples)
            samples = take_samples(movie)
            reference: Reference | None = None
            note = movie.source_summary
            if job.kind is Kind.MOVIE and movie.mrc_header.mode == MODE_FLOAT32 and self._options.gain != "none":
                if len(self._given) == 1 and self._given[0].gain.shape == movie.shape[1:]:
                    (reference,) = self._given
                else:
                    reference = self.references.best_match(movie.shape[1:], samples)
            plan = make_plan(movie, samples, reference, self._options.coding, self._workers.pool)
            if self._given and job.kind is Kind.MOVIE and not self._is_served(plan.reference):
                note = self._not_used(job.source, movie, samples)

            @contextlib.contextmanager
            def publishing(made: Draft) -> Iterator[None]:
                with contextlib.nullcontext() if copy is None else copy.removed_after(made):
                    if _state(target) != before:
                        raise _TakenError(f"{target}: written by another program while {job.source} was read")
                    yield

            limit = self._limit(job, movie)
            try:
                stored = archive_movie(movie, target, plan, self._workers, on_frame, limit, publishing)
            except _TakenError as error:
                if self._is_done(movie, job, target):
                    return Stored(movie.stat.st_size, 0, is_done=True)
                raise ChangedError(f"{error}; run the same command again with --only-do-unfinished") from None
            return Stored(movie.stat.st_size, stored, note, replaced or (copy.replaced if copy else None))

    def _is_done(self, movie: SourceMovie, job: Job, target: Path) -> bool:
        """Return True if the archive contains a movie now, because another run has stored it."""
        return is_done(target, inspect(movie, job.source), self.references)

    def _is_served(self, used: Reference | None) -> bool:
        """Return True if `used` is the given reference, or one of several given references."""
        return used is self._given[0] if len(self._given) == 1 else used is not None

    def _not_used(self, source: Path, movie: SourceMovie, samples: list[Sample]) -> str | None:
        """Return the message that a movie uses no given gain reference, or None if the movie is not gain-normalised."""
        given = self._given
        if movie.mrc_header.mode != MODE_FLOAT32:
            return None
        if len(given) > 1:
            return f"{source}: no given gain reference yields counts; pass the right one, or --gain auto"
        if (turn := self._matching_turn(movie, samples)) is not None:
            return f"{source}: wrong orientation of the given gain reference; pass --gain-orientation {turn.name}"
        size, needed = (f"{ny} x {nx}" for ny, nx in (given[0].gain.shape, movie.shape[1:]))
        why = "it does not yield counts" if size == needed else f"size mismatch: expected {needed}, got {size}"
        return f"{source}: cannot use the given gain reference ({why}); pass the right one, or --gain auto"

    def _matching_turn(self, movie: SourceMovie, samples: list[Sample]) -> Orientation | None:
        """Return the orientation in which the given gain reference matches the samples of a movie, or None."""
        if not isinstance(self._options.gain, Path) or self._options.gain.is_dir():
            return None
        gain, _ = load_given(self._options.gain)
        for orientation in ORIENTATIONS:
            turned = gain.turned(orientation)
            if turned.shape == movie.shape[1:] and matches(turned, samples):
                return orientation
        return None

    def _limit(self, job: Job, movie: SourceMovie) -> float | None:
        """Return the maximum size of a stored movie in bytes, or None if there is no limit."""
        target = self._archive / job.target
        asked_for = job.kind is Kind.EER or self._options.coding.compression == "none"
        if asked_for or os.path.lexists(target) or is_reference_name(original_name(target.name) or ""):
            return None
        return (1 - self._options.least_saving) * movie.stat.st_size


@dataclass
class StoreMovies:
    """Task function of a worker process. It is pickled, and opens files only in the worker.

    Attributes
    ----------
    threads : int
        Number of threads in the process that share the work on a movie.
    """

    archive: Path
    options: CompressOptions
    threads: int

    def __call__(self, task: tuple[Job, Known | None], on_frame: OnFrame) -> Stored:
        """Store a movie and return the result; see `Archiver.store`."""
        job, known = task
        with notices.shown(lambda _: None):
            stored = self._archiver.store(job, on_frame, known)
            return replace(stored, notices=notices.collected())

    @cached_property
    def _archiver(self) -> Archiver:
        # created with the first movie, after the run has written all references
        return Archiver(self.archive, self.options, Workers(ThreadPoolExecutor(self.threads), self.threads))


def _state(target: Path) -> FileState | None:
    """Return the state of a file of the archive, or None if there is none."""
    try:
        return state_of(target.lstat())
    except OSError:
        return None


def _replaced(movie: SourceMovie, source: Path, target: Path) -> str | None:
    """Return the message that a movie replaces another original with the same name, or None if it does not.

    Raises
    ------
    ArchiveError
        The movie would replace a file that compress did not write, or fractions would hide an original.
    """
    is_derived = movie.rendered is not None
    plain = target.with_name(original_name(target.name) or target.name)
    if is_derived and plain != target and regular_file(plain) is not None:
        raise _in_place_of_original(source, plain)
    if not os.path.lexists(target):
        return None
    try:
        held = held_movie(target)
    except DamagedError:
        if is_marked(target):
            return f"{target}: replaced a damaged movie with this name in the archive"
        held = None
    if held is None or held.adopted is not None:
        raise ArchiveError(
            f"{source}: name already taken by another file ({target}); rename the movie, or remove the file"
        )
    if is_derived and held.rendered is None:
        raise _in_place_of_original(source, target)
    if held.ingested:
        _refuse_another(source, target, held)
    original = held.rendered or held.original
    known = original.bytes, original.mtime_ns
    return None if known == movie.state else replaced_text(target, *known)


def _refuse_another(source: Path, target: Path, held: Record) -> None:
    """Raise ArchiveError unless a source equals the original of a movie that was written in the archive."""
    with LocalFile.open(source) as file:
        is_equal = file.size == held.original.bytes and file_sha256(file) == held.original.sha256
    if not is_equal:
        text = f"{source}: differs from the movie of this name that was written in the archive ({target})"
        raise ArchiveError(f"{text}; rename one of them, or remove the one in the archive")


def _in_place_of_original(source: Path, original: Path) -> ArchiveError:
    text = f"{source}: name of the fractions already taken by an original in the archive ({original})"
    return ArchiveError(f"{text}; rename the EER file, or copy it with --eer keep")
