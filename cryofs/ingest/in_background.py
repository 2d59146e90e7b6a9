"""Archive the finished plain movies of a writable mount: child processes make drafts, the mount gives them their names.

One thread finds movies that are finished, hands them to children and publishes their drafts. An error never reaches a
writer: the movie stays plain, and is tried again once it changes.

Threads: safe to call from any thread.
"""

import contextlib
import logging
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, CryofsError, FormatError, FullDiskError, NotSmallerError
from cryofs.execution.processes import DiedError, NoProcessError
from cryofs.formats.archive_names import archived_path, has_archived_form
from cryofs.ingest.finished import Verdict, judge
from cryofs.ingest.waiting import StoppedError, WaitingMovies, Why
from cryofs.storage.checksum_lists import ListReader, set_seen
from cryofs.storage.file_state import FileState, state_of
from cryofs.storage.folders import folders_of
from cryofs.storage.hashing import hash_file
from cryofs.vfs.changing import MountParts

if TYPE_CHECKING:
    from cryofs.ingest.children import Children

# How long a movie waits that could not be archived for a reason that may pass: no room, a child that died.
_RETRY_SECONDS = 60.0
# How long the end of a mount waits for a step that is under way.
_LAST_SECONDS = 10.0

log = logging.getLogger("cryofs")


class Ingester:
    """The thread that archives movies, and the movies that wait for it."""

    def __init__(self, parts: MountParts, settings: Settings):
        self._parts = parts
        self._settings = settings
        self.waiting = WaitingMovies(settings.settle)
        # movies that failed, which are not tried again before they change
        self._failed: dict[Path, FileState] = {}
        self._lists = ListReader()
        self._children: Children | None = None
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._thread.start()

    def add(self, place: Path) -> None:
        """Look at a plain file once it may be settled; returns at once."""
        if has_archived_form(place.name):
            self.waiting.put(place, self._settings.settle)

    def is_busy(self) -> bool:
        """Return True while movies are archived."""
        return any(movie.why is Why.INGESTING for movie in self.waiting.snapshot().values())

    def stop(self) -> None:
        """End the thread and the child processes; a step that is under way is completed."""
        self.waiting.stop()
        if self._children is not None:
            # this process has no other children of this kind
            for child in multiprocessing.active_children():
                child.terminate()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(StoppedError):
            while True:
                places = self.waiting.take(self._candidates)
                try:
                    ready = [place for place in places if self._is_ready(place)]
                    if ready:
                        self._ingest(ready)
                except (CryofsError, OSError):
                    log.exception("archiving written movies failed")
                    for place in places:
                        self.waiting.done(place)

    def _candidates(self) -> list[Path]:
        folders = folders_of(self._parts.root.path)
        return [folder / name for folder, names in folders for name in names if has_archived_form(name)]

    def _is_ready(self, place: Path) -> bool:
        """Return True if a plain file is a finished movie; otherwise it waits on, or is done."""
        settle = self._settings.settle
        try:
            if self._parts.live.has_writer(place):
                # the close of the last writer will be noted
                self.waiting.wait_on(place, Why.OPEN, None)
                return False
            found = place.lstat()
            if os.path.lexists(archived_path(place)) or self._failed.get(place) == state_of(found):
                self.waiting.done(place)
                return False
            judged = judge(place, self._lists, settle)
        except FileNotFoundError:
            self._gone(place)
            return False
        except (CryofsError, OSError) as error:
            self._fail(place, error)
            return False
        match judged.verdict:
            case Verdict.KEEP:
                self._keep(place, judged.reason)
            case Verdict.KEPT:
                self.waiting.done(place)
            case Verdict.WAIT if time.time() - found.st_ctime < settle:
                self.waiting.wait_on(place, Why.SETTLING, settle)
            case Verdict.WAIT:
                self.waiting.wait_on(place, Why.UNFINISHED, None)
        return judged.verdict is Verdict.READY

    def _ingest(self, ready: list[Path]) -> None:
        if self._children is None:
            # imported late, because it takes most of the startup time
            from cryofs.ingest.children import Children

            self._children = Children(self._parts, self._settings)
        left = set(ready)
        try:
            with contextlib.closing(self._children.archive(ready, self.waiting.check_stop)) as archived:
                for place, error in archived:
                    left.discard(place)
                    self._ended(place, error)
                    self.waiting.check_stop()
        finally:
            for place in left:
                self.add(place)

    def _ended(self, place: Path, error: Exception | None) -> None:
        match error:
            case None:
                self._failed.pop(place, None)
                self.waiting.done(place)
            case ChangedError():
                self.add(place)
            case FileNotFoundError():
                self._gone(place)
            case NotSmallerError() | FormatError():
                self._keep(place, str(error))
            case FullDiskError() | DiedError() | NoProcessError():
                log.warning("%s: not archived yet (%s)", self._name(place), self._named(str(error)))
                self.waiting.wait_on(place, Why.RETRY, _RETRY_SECONDS)
            case _:
                self._fail(place, error)

    def _keep(self, place: Path, reason: str) -> None:
        """Record the checksum of a file that stays plain, so that it is not tried again until it changes."""
        try:
            hashed = hash_file(place, lambda _: self.waiting.check_stop())
            with self._parts.names.locked(place):
                if self._parts.live.has_writer(place) or state_of(place.lstat()) != state_of(hashed.found):
                    self.add(place)
                    return
                set_seen(place, hashed.sha256, hashed.found)
        except ChangedError:
            self.add(place)
        except (CryofsError, OSError) as error:
            self._fail(place, error)
        else:
            self.waiting.done(place)
            log.info("%s: kept plain (%s)", self._name(place), self._named(reason))

    def _fail(self, place: Path, error: Exception) -> None:
        if not os.path.lexists(place):
            self._gone(place)
            return
        self.waiting.done(place)
        log.warning("%s: not archived (%s)", self._name(place), self._named(str(error)))
        with contextlib.suppress(OSError):
            self._failed[place] = state_of(place.lstat())

    def _gone(self, place: Path) -> None:
        """Forget a movie that was removed, or search for it again later, because its folder may have been renamed."""
        self.waiting.done(place)
        self.waiting.search_again(max(self._settings.settle, 1))

    def _name(self, place: Path) -> str:
        return self._parts.root.name_of(place)

    def _named(self, text: str) -> str:
        """Return a message with the name of the archive in place of paths through its descriptor."""
        root = self._parts.root
        for path in (outside(root.path), root.path):
            text = text.replace(str(path), root.name_of(root.path))
        return text


def outside(path: Path) -> Path:
    """Return a path through a descriptor of this process so that other processes can use it."""
    return Path("/proc") / str(os.getpid()) / path.relative_to("/proc/self")
