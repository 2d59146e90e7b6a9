"""Run `cryofs ingest`: archived movies replace the finished plain movies of an archive, once or again and again."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from cryofs.archive.changing import changing
from cryofs.archive.progress import as_cryofs_error
from cryofs.archive.recovery import recover_folder
from cryofs.config.settings import load_settings
from cryofs.errors import (
    ArchiveError,
    ChangedError,
    CryofsError,
    FormatError,
    FullDiskError,
    NoReferenceError,
    NotSmallerError,
)
from cryofs.execution.executor import results
from cryofs.execution.messages import Done, Failed, Progress
from cryofs.execution.threads import InTurn
from cryofs.formats.archive_names import archived_name, archived_path, has_archived_form
from cryofs.gain.references import References
from cryofs.ingest.draft import DraftOptions, Ready
from cryofs.ingest.drafts import Drafts
from cryofs.ingest.finished import Judged, Verdict, judge
from cryofs.ingest.gain_wait import GainWait
from cryofs.ingest.hidden import review
from cryofs.ingest.make_references import Answer, MakeReferences, Patience, Request
from cryofs.ingest.publish import publish
from cryofs.ingest.record_attributes import record_changed
from cryofs.ingest.summary import Listener, Summary
from cryofs.ingest.twin import remove_equal
from cryofs.storage.archive_lock import Activity
from cryofs.storage.checksum_lists import ListReader, set_seen
from cryofs.storage.file_state import FileState, is_still, state_of
from cryofs.storage.folders import folders_of
from cryofs.storage.hashing import hash_file
from cryofs.storage.journal import JOURNAL_NAME, read_journal
from cryofs.storage.leases import LeaseUsers
from cryofs.storage.steps import Ended
from cryofs.system.mount_table import may_be_remote

# How often an archive is searched for finished movies with `follow`.
_SEARCH_SECONDS = 5.0


@dataclass(frozen=True)
class IngestOptions:
    """Options of a run.

    Attributes
    ----------
    draft : DraftOptions
        How drafts are made; `threads` is set by the run.
    gain_file : Path or None
        Gain reference to add to the archive first.
    settle : float
        Seconds since the last change of a finished movie.
    follow : bool
        Whether to search again until `stop` is set.
    jobs : int
        Number of cores to use.
    break_lock : bool
        Whether commands on other machines that hold the lock of the archive do not count.
    """

    draft: DraftOptions = field(default_factory=DraftOptions)
    gain_file: Path | None = None
    settle: float = 30.0
    follow: bool = False
    jobs: int = 1
    break_lock: bool = False


class _StoppedError(BaseException):
    """The user ended the run."""


def ingest(archive: Path, options: IngestOptions, listener: Listener, stop: Event | None = None) -> Summary:
    """Replace the finished plain movies of an archive by archived movies, and return the figures of the run.

    Parameters
    ----------
    stop : threading.Event, optional
        Ends the run when it is set; the movie that is being replaced is completed.

    Raises
    ------
    ArchiveError
        Another command excludes changes of the archive, or the archive is not a folder.
    GainError
        The given gain reference is unreadable or invalid.
    """
    return _Run(archive.absolute(), options, listener, stop or Event()).run()


class _Run:
    def __init__(self, archive: Path, options: IngestOptions, listener: Listener, stop: Event):
        self._archive = archive
        self._options = options
        self._listener = listener
        self._stop = stop
        self._summary = Summary()
        # files that failed, which are not tried again before they change
        self._failed: dict[Path, FileState] = {}
        self._noted: set[str] = set()
        self._lists = ListReader()
        # gain references that the options or the settings of the archive name, which stay plain
        self._used: list[Path] = []
        self._gain = GainWait(archive, self._make_references, listener.note)

    def run(self) -> Summary:
        started = time.monotonic()
        if not self._archive.is_dir():
            raise ArchiveError(f"{self._archive}: not a folder; pass the folder of an archive")
        self._used += load_settings(self._archive, {}).gain_files
        with changing(self._archive, Activity.INGEST, self._listener.note, break_lock=self._options.break_lock):
            if self._options.gain_file is not None:
                self._used.append(self._options.gain_file)
                references = References(self._archive)
                references.import_file(self._options.gain_file)
                references.record_checksums()
            try:
                record_changed(self._archive, self._listener.note, self._check_stop)
                self._search()
                while self._options.follow and not self._stop.wait(min(_SEARCH_SECONDS, self._options.settle or 1)):
                    self._search()
            except _StoppedError:
                pass
        self._summary.failed = len(self._failed)
        self._summary.seconds = time.monotonic() - started
        return self._summary

    def _search(self) -> None:
        """Find finished movies, and ingest them; then those that a new gain reference fits."""
        summary = self._summary
        summary.waiting = summary.kept_plain = summary.hidden = 0
        ready = self._finished(self._candidates())
        while True:
            if ready:
                self._listener.begin(len(ready), sum(one.frames for one in ready.values()))
                self._ingest(list(ready), sum(one.bytes for one in ready.values()))
            if not self._options.follow:
                # no further movies will come
                self._gain.settle_now()
            released = self._gain.update()
            if not (ready := self._finished(released)):
                break
        summary.waiting += len(self._gain)
        for plain in self._gain:
            self._note_once(f"{plain}: waits (no gain reference of the archive fits)")

    def _finished(self, paths: Iterable[Path]) -> dict[Path, Judged]:
        """Return the finished movies among some files, and count or keep the others."""
        summary = self._summary
        ready = {}
        for path in paths:
            self._check_stop()
            try:
                judged = judge(path, self._lists, self._options.settle, self._used)
                is_held = judged.verdict is Verdict.READY and self._gain.holds(path, state_of(path.lstat()))
            except FileNotFoundError:
                continue
            except (CryofsError, OSError) as error:
                self._fail(path, as_cryofs_error(error, path))
                continue
            match judged.verdict:
                case Verdict.WAIT:
                    summary.waiting += 1
                case Verdict.KEPT:
                    summary.kept_plain += 1
                case _ if is_held or self._has_failed(path) or self._is_twin(path):
                    pass
                case Verdict.KEEP:
                    self._keep(path, judged.reason)
                case Verdict.READY:
                    ready[path] = judged
        return ready

    def _candidates(self) -> Iterator[Path]:
        """Yield the files of the archive with names of movies; look after hidden files on the way."""
        for folder, names in folders_of(self._archive):
            if JOURNAL_NAME in names:
                self._look_after(folder)
            yield from (folder / name for name in sorted(names) if has_archived_form(name))

    def _look_after(self, folder: Path) -> None:
        """End steps that waited for a program to close a file, and review the hidden files of a folder."""
        try:
            if any(line.step != "kept" for line in read_journal(folder).lines):
                recover_folder(folder, self._note_once)
            self._summary.hidden += review(folder, self._listener.note)
        except (CryofsError, OSError) as error:
            self._note_once(str(as_cryofs_error(error, folder)))

    def _is_twin(self, plain: Path) -> bool:
        """Return True if the archived movie of a plain movie exists; remove the plain movie if both are equal."""
        if not os.path.lexists(archived_path(plain)):
            return False
        try:
            if read_journal(plain.parent).about(plain.name, archived_name(plain.name)):
                self._summary.waiting += 1
                return True
            with ThreadPoolExecutor(self._options.jobs) as pool:
                ended = remove_equal(plain, self._archive, pool, covers=not may_be_remote(plain.parent))
            self._summary.hidden += ended is Ended.KEPT
            self._listener.note(f"{plain}: removed, because it equals the original of its archived movie")
        except ChangedError:
            self._summary.waiting += 1
        except (CryofsError, OSError) as error:
            self._fail(plain, as_cryofs_error(error, plain))
        return True

    def _ingest(self, ready: list[Path], total: int) -> None:
        drafts = Drafts(self._archive, self._options.draft, self._options.jobs, self._gain.without_gain())
        left = set(ready)
        with contextlib.closing(drafts.make(ready, total, self._progress)) as outcomes:
            for plain, outcome in outcomes:
                left.discard(plain)
                match outcome:
                    case Done(made):
                        self._publish(made)
                    case Failed(FullDiskError() as error):
                        self._summary.waiting += len(left)
                        self._fail(plain, FullDiskError(f"{plain}: not archived ({error}); free some space"))
                        return
                    case Failed(NoReferenceError()):
                        self._wait_for_gain(plain)
                    case Failed(ChangedError()):
                        self._summary.waiting += 1
                    case Failed(NotSmallerError() | FormatError() as error):
                        self._keep(plain, str(error))
                    case Failed(error):
                        self._fail(plain, as_cryofs_error(error, plain))
                self._check_stop()

    def _wait_for_gain(self, plain: Path) -> None:
        try:
            self._gain.add(plain)
        except (CryofsError, OSError) as error:
            self._fail(plain, as_cryofs_error(error, plain))

    def _make_references(self, request: Request, patience: Patience) -> Answer:
        make = MakeReferences(self._archive, self._options.jobs, patience)
        (answer,) = results(InTurn().run(make, [request], lambda _: self._check_stop()))
        return answer

    def _publish(self, made: Ready) -> None:
        summary = self._summary
        try:
            covers = not may_be_remote(made.plain.parent)
            with LeaseUsers(made.plain, made.state, covers=covers) as users:
                ended = publish(made, users)
        except ChangedError:
            made.discard()
            summary.waiting += 1
        except (CryofsError, OSError) as error:
            made.discard()
            self._fail(made.plain, as_cryofs_error(error, made.plain))
        else:
            if ended is Ended.PUT_BACK:
                summary.waiting += 1
                return
            summary.ingested += 1
            self._failed.pop(made.plain, None)
            self._gain.remove(made.plain)
            summary.hidden += ended is Ended.KEPT
            summary.original_bytes += made.state.size
            summary.stored_bytes += made.stored_bytes
            self._listener.movie_done(made.plain.relative_to(self._archive), made.state.size, made.stored_bytes)

    def _keep(self, plain: Path, reason: str) -> None:
        """Record the checksum of a file that stays plain, so that it is not tried again until it changes."""
        try:
            hashed = hash_file(plain, lambda _: None)
            set_seen(plain, hashed.sha256, hashed.found)
        except ChangedError:
            self._summary.waiting += 1
        except (CryofsError, OSError) as error:
            self._fail(plain, as_cryofs_error(error, plain))
        else:
            self._gain.remove(plain)
            self._summary.kept_plain += 1
            self._listener.note(f"{plain}: kept plain ({reason.removeprefix(f'{plain}: ').partition('; ')[0]})")

    def _has_failed(self, plain: Path) -> bool:
        """Return True if a file failed before and is unchanged; it counts as failed already."""
        known = self._failed.get(plain)
        return known is not None and is_still(plain, known, follow_links=False)

    def _fail(self, plain: Path, error: CryofsError) -> None:
        if not self._has_failed(plain):
            self._listener.failed(error)
        with contextlib.suppress(OSError):
            self._failed[plain] = state_of(plain.lstat())

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._listener.note(text)

    def _progress(self, progress: Progress) -> None:
        self._listener.frames(progress.count)
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _StoppedError
