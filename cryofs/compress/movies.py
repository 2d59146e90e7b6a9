"""Select the movies that a run stores, provide their gain references, and record the outcomes."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from cryofs.archive.jobs import Job, Kind
from cryofs.archive.progress import as_cryofs_error
from cryofs.compress.existing import MovieInfo, inspect, inspect_packed, is_copy, is_done
from cryofs.compress.full_disk import is_full
from cryofs.compress.gain_warnings import gain_warnings
from cryofs.compress.ledger import Ledger
from cryofs.compress.movie_executor import MovieExecutor
from cryofs.compress.movie_task import Archiver, CompressOptions, Stored
from cryofs.compress.part_gains import PartGains
from cryofs.compress.plain_copies import original_target, plain_job, plain_target, remove_plain_copy
from cryofs.compress.row_blocks import Workers
from cryofs.compress.session_gains import SessionGains
from cryofs.errors import CryofsError, FormatError, FullDiskError, NotSmallerError
from cryofs.execution.messages import Done, Failed
from cryofs.storage.checksum_lists import ChecksumLists
from cryofs.system.notices import notice


class Movies:
    """Storage of the movies of a run and of the gain references that they need.

    Parameters
    ----------
    pool : Executor
        Thread pool that shares the work on a movie.
    """

    def __init__(self, archive: Path, options: CompressOptions, ledger: Ledger, pool: Executor):
        self._archive = archive
        self._options = options
        self._ledger = ledger
        self._archiver = Archiver(archive, options, Workers(pool, options.jobs))
        self._archiver.eer_gains.report = self._archiver.eer_gains.inform = ledger.listener.note
        self._gains = SessionGains(self._archiver, pool, ledger.listener.frame_row, ledger.listener.note)
        self._executor = MovieExecutor(archive, options, self._archiver)
        self._lists = ChecksumLists()

    def close(self) -> None:
        """Close all open movies."""
        self._archiver.sources.close()

    def store(self, jobs: Sequence[Job], elsewhere: Sequence[Job] = ()) -> None:
        """Store all movies that are not yet in the archive; write the gain reference of a movie before the movie.

        Parameters
        ----------
        elsewhere : sequence of Job
            Movies that other parts of the run store.
        """
        listener = self._ledger.listener
        wanted = self._unfinished(jobs)
        listener.begin(len(wanted), sum(info.shape[0] for info in wanted.values()))
        for warning in gain_warnings(self._options, wanted):
            listener.note(warning)
        if self._options.gain == "auto":
            self._provide_gains(wanted, elsewhere)
        for damaged in self._archiver.references.damaged:
            listener.note(f"{damaged} (not used in this run)")
        stored = self._executor.store_all(list(wanted), lambda progress: listener.frames(progress.count))
        with contextlib.closing(stored) as outcomes:
            for job, outcome in outcomes:
                self._finish(job, outcome)

    def _provide_gains(self, wanted: dict[Job, MovieInfo], elsewhere: Sequence[Job]) -> None:
        """Estimate gain references, or wait for part 1; report movies for which it did not come as failed."""
        options, note = self._options, self._ledger.listener.note
        gains = PartGains(self._archive, options.part, options.gain_wait, self._gains, note)
        others = dict(self._inspected(elsewhere)) if options.part.number == 1 else {}
        for job, error in gains.provide(wanted, others).items():
            del wanted[job]
            self._archiver.sources.release(job)
            self._ledger.fail(job.source, error, job)

    def _inspected(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, MovieInfo]]:
        """Yield facts about movies of other parts, which report movies that cannot be read."""
        for job in jobs:
            with contextlib.suppress(CryofsError, OSError), self._archiver.sources.open(job) as movie:
                info = inspect(movie, job.source)
                done = self._options.only_do_unfinished and is_done(
                    self._archive / job.target, info, self._archiver.references
                )
                if not done:
                    yield job, info

    def record_references(self) -> None:
        """Add the gain references that movies of this run need to the checksum list."""
        try:
            self._archiver.references.record_checksums()
        except (CryofsError, OSError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            self._ledger.fail(self._archive, as_cryofs_error(error, self._archive))

    def _unfinished(self, jobs: Sequence[Job]) -> dict[Job, MovieInfo]:
        """Return the movies to store, with facts about each; start worker processes once there are enough movies."""
        wanted = {}
        original_bytes = 0
        for job in jobs:
            info = self._inspect(job)
            if info is None:
                self._archiver.sources.release(job)
                continue
            wanted[job] = info
            original_bytes += info.original_bytes
            if problem := self._executor.prepare(len(wanted), original_bytes):
                self._ledger.listener.note(problem)
        return wanted

    def _inspect(self, job: Job) -> MovieInfo | None:
        """Return facts about a movie from its header, or None if the movie is already stored or has failed."""
        try:
            if job.kind is Kind.PACKED:
                # only the start is unpacked, not the whole movie
                info = inspect_packed(job.source)
                self._archiver.sources.expect(job)
            else:
                with self._archiver.sources.open(job) as movie:
                    info = inspect(movie, job.source)
                    self._gains.keep_for(movie)
            return None if self._options.only_do_unfinished and self._is_finished(job, info) else info
        except FormatError as error:
            self._keep_plain(job, error)
        except (CryofsError, OSError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            self._ledger.fail(job.source, error, job)
        return None

    def _is_finished(self, job: Job, info: MovieInfo) -> bool:
        """Return True if the archive already contains a movie, and count the movie as skipped."""
        summary = self._ledger.summary
        if is_done(self._archive / job.target, info, self._archiver.references):
            summary.skipped += 1
            self._ledger.done(job)
            self._remove_plain_copy(job)
            return True
        if self._is_kept_plain(job):
            summary.kept_plain += 1
            summary.up_to_date += 1
            self._ledger.done(job)
            return True
        return False

    def _finish(self, job: Job, outcome: Done[Stored] | Failed) -> None:
        """Count and report a stored movie, schedule a plain copy of an unsuitable one, or report a failed one."""
        match outcome:
            case Done(stored):
                self._ledger.done(job)
                for condition, text in stored.notices:
                    notice(condition, text)
                if stored.is_done:
                    self._ledger.summary.skipped += 1
                else:
                    self._count(job, stored)
                try:
                    self._remove_plain_copy(job)
                except (CryofsError, OSError) as error:
                    self._ledger.fail(job.source, error)
            case Failed(FullDiskError() as error):
                raise error
            case Failed(NotSmallerError() as error):
                self._keep_plain(job, error)
            case Failed(FormatError() as error) if job.kind is Kind.PACKED:
                self._keep_plain(job, error)
            case Failed(error):
                self._ledger.fail(job.source, error, job)

    def _count(self, job: Job, stored: Stored) -> None:
        summary, listener = self._ledger.summary, self._ledger.listener
        summary.movies += 1
        summary.original_bytes += stored.source_bytes
        summary.stored_bytes += stored.stored_bytes
        if stored.note:
            listener.note(stored.note)
        if stored.replaced:
            self._note_replaced(stored.replaced)
        listener.movie_done(job.target, stored.source_bytes, stored.stored_bytes)

    def _keep_plain(self, job: Job, reason: CryofsError) -> None:
        """Schedule a plain copy of a file that cannot be archived as a movie, or report it as failed with `strict`."""
        self._ledger.done(job)
        if self._options.strict or not job.kind.is_original:
            self._ledger.fail(job.source, reason)
            return
        try:
            copy = plain_job(job, self._archive, reason)
        except (CryofsError, OSError) as error:
            self._ledger.fail(job.source, error)
        else:
            self._ledger.keep_plain(copy, reason)

    def _is_kept_plain(self, job: Job) -> bool:
        """Return True if the archive has a plain copy with the size and time of a movie, and a checksum of the copy."""
        plain = self._archive / plain_target(job)
        # a packed file may have been copied by a run that did not try to unpack it
        strict = self._options.strict or job.kind is not Kind.MOVIE
        return not strict and is_copy(job.source, plain) and self._lists.recorded(plain) is not None

    def _remove_plain_copy(self, job: Job) -> None:
        if not job.kind.is_original:
            return
        archived = self._archive / job.target
        # an earlier run may have copied a packed movie, or stored another file under the name of the movie in it
        for plain in {plain_target(job), original_target(job)}:
            if replaced := remove_plain_copy(archived, self._archive / plain, job.source):
                self._note_replaced(replaced)

    def _note_replaced(self, text: str) -> None:
        self._ledger.summary.replaced += 1
        self._ledger.listener.note(text)
