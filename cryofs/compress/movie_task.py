"""Store movies one at a time; each process of a run executes this module."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.util import Finalize
from pathlib import Path

from cryofs.archive.identify import held_movie, is_marked
from cryofs.archive.scan import Job, Kind
from cryofs.compress.existing import inspect, is_done, replaced_text
from cryofs.compress.full_disk import is_full
from cryofs.compress.options import CompressOptions as CompressOptions
from cryofs.compress.options import Stored as Stored
from cryofs.compress.plain_copies import original_target, plain_copy
from cryofs.compress.plan import make_plan
from cryofs.compress.row_blocks import Workers
from cryofs.compress.sources import Known, Sources
from cryofs.compress.unpack import UnpackedMovie
from cryofs.compress.writer import OnFrame, archive_movie
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, ChangedError, CryofsError, DamagedError, FullDiskError
from cryofs.formats.archive_names import is_reference_name, original_name
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.formats.record import Record
from cryofs.gain.match import matches
from cryofs.gain.references import Reference, References, best_scaled_match
from cryofs.gain.samples import Sample, keep_samples, take_samples
from cryofs.gain.scaled import SCALED_MODES, fit, step_of
from cryofs.kernels.from_counts import GainReference
from cryofs.kernels.orientation import ORIENTATIONS, Orientation
from cryofs.movies import gain_kinds
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.gain_library import load_given
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_rendered
from cryofs.movies.source import SourceMovie
from cryofs.storage.archive_lock import Activity, ArchiveLock
from cryofs.storage.atomic_file import Draft, regular_file
from cryofs.storage.checksums import file_sha256
from cryofs.storage.file_state import FileState, state_of
from cryofs.storage.folders import make_writable
from cryofs.system import notices


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
        if job.kind is Kind.PACKED:
            return UnpackedMovie(job.source, self._archive, self._workers.pool)
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
                return Stored(movie.source_bytes, 0, is_done=True)
            replaced = _replaced(movie, job.source, target)
            make_writable(target.parent)
            copy = None if job.kind is Kind.EER else plain_copy(self._archive / original_target(job), job.source)
            if known is not None and known.state == state_of(movie.stat):
                keep_samples(movie, known.samples)
            samples = take_samples(movie)
            note = movie.source_summary
            reference = self._reference(movie, samples) if job.kind.is_original else None
            plan = make_plan(movie, samples, reference, self._options.coding, self._workers.pool)
            if self._given and job.kind.is_original and not self._is_served(plan.reference):
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
                    return Stored(movie.source_bytes, 0, is_done=True)
                raise ChangedError(f"{error}; run the same command again with --only-do-unfinished") from None
            return Stored(movie.source_bytes, stored, note, replaced or (copy.replaced if copy else None))

    def _reference(self, movie: SourceMovie, samples: list[Sample]) -> Reference | None:
        """Return the gain reference for a movie, or None if the movie is not gain-normalised or no reference fits."""
        shape, mode = movie.shape[1:], movie.mrc_header.mode
        if self._options.gain == "none" or mode not in (MODE_FLOAT32, *SCALED_MODES):
            return None
        given = self._given if len(self._given) == 1 and self._given[0].gain.shape == shape else []
        if mode != MODE_FLOAT32:
            return best_scaled_match(movie, given or self.references.of_size(shape))
        return given[0] if given else self.references.best_match(shape, samples)

    def _is_done(self, movie: SourceMovie, job: Job, target: Path) -> bool:
        """Return True if the archive contains a movie now, because another run has stored it."""
        return is_done(target, inspect(movie, job.source), self.references)

    def _is_served(self, used: Reference | None) -> bool:
        """Return True if `used` is the given reference, or one of several given references."""
        if used is None or len(self._given) > 1:
            return used is not None
        return used.record.sha256 == self._given[0].record.sha256

    def _not_used(self, source: Path, movie: SourceMovie, samples: list[Sample]) -> str | None:
        """Return the message that a movie uses no given gain reference, or None if the movie is not gain-normalised."""
        given = self._given
        if movie.mrc_header.mode != MODE_FLOAT32 and step_of(movie) is None:
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
            if turned.shape == movie.shape[1:] and _matches(turned, movie, samples):
                return orientation
        return None

    def _limit(self, job: Job, movie: SourceMovie) -> float | None:
        """Return the maximum size of a stored movie in bytes, or None if there is no limit."""
        target = self._archive / job.target
        asked_for = job.kind is Kind.EER or self._options.coding.compression == "none"
        if asked_for or os.path.lexists(target) or is_reference_name(original_name(target.name) or ""):
            return None
        return (1 - self._options.least_saving) * movie.source_bytes


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
        # a worker may outlive its run for a moment
        lock = ArchiveLock(self.archive, Activity.WORKER, break_lock=self.options.break_lock)
        Finalize(None, lock.release, exitpriority=1)
        # created with the first movie, after the run has written all references
        return Archiver(self.archive, self.options, Workers(ThreadPoolExecutor(self.threads), self.threads))


def _state(target: Path) -> FileState | None:
    """Return the state of a file of the archive, or None if there is none."""
    try:
        return state_of(target.lstat())
    except OSError:
        return None


def _matches(reference: GainReference, movie: SourceMovie, samples: list[Sample]) -> bool:
    """Return True if a reference matches a gain-normalised movie."""
    if movie.mrc_header.mode == MODE_FLOAT32:
        return matches(reference, samples)
    step = step_of(movie)
    return step is not None and fit(reference.gain, samples, step).matches


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
        _refuse_another(movie, source, target, held)
    return None if held.source_state == movie.state else replaced_text(target, *held.source_state)


def _refuse_another(movie: SourceMovie, source: Path, target: Path, held: Record) -> None:
    """Raise ArchiveError unless a source equals the original of a movie that was written in the archive."""
    # an unpacked copy is compared as the movie in the packed file
    is_equal = movie.source.size == held.original.bytes and file_sha256(movie.source) == held.original.sha256
    if not is_equal:
        text = f"{source}: differs from the movie of this name that was written in the archive ({target})"
        raise ArchiveError(f"{text}; rename one of them, or remove the one in the archive")


def _in_place_of_original(source: Path, original: Path) -> ArchiveError:
    text = f"{source}: name of the fractions already taken by an original in the archive ({original})"
    return ArchiveError(f"{text}; rename the EER file, or copy it with --eer keep")
