"""Archive the finished plain movies of a writable mount: child processes make drafts, the mount gives them their names.

One thread finds movies that are finished, hands them to children and publishes their drafts. An error never reaches a
writer: the movie stays plain, and is tried again once it changes.

Threads: safe to call from any thread.
"""

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofs.compress.full_disk import is_full
from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, CryofsError, FormatError, FullDiskError, NoReferenceError, NotSmallerError
from cryofs.execution.processes import DiedError, NoProcessError
from cryofs.formats.archive_names import archived_path, has_archived_form, is_reference_name
from cryofs.ingest.draft_room import DraftRoom
from cryofs.ingest.finished import Verdict, judge
from cryofs.ingest.outcomes import Outcomes, waiting_facts
from cryofs.ingest.waiting import StoppedError, WaitingMovies, Why
from cryofs.storage.checksum_lists import ListReader, set_seen
from cryofs.storage.file_state import state_of
from cryofs.storage.folders import folders_of
from cryofs.storage.hashing import hash_file
from cryofs.vfs.changing import MountParts
from cryofs.vfs.room import bytes_on_disk

if TYPE_CHECKING:
    from cryofs.ingest.children import Children
    from cryofs.ingest.gain_in_mount import GainInMount

# Delays before another attempt: after a child process died; without room, which the free space shows; at a quota, which
# the free space does not show.
_RETRY_SECONDS = 60.0
_ROOM_SECONDS = 1.0
_QUOTA_SECONDS = 10.0
# Largest number of movies in one turn; movies whose child process died are tried again after it.
_MOST_IN_TURN = 1000
# How long the end of a mount waits for a step that is under way.
_LAST_SECONDS = 10.0

log = logging.getLogger("cryofs")


class Ingester:
    """The thread that archives movies, and the movies that wait for it."""

    def __init__(self, parts: MountParts, settings: Settings):
        self._parts = parts
        self._settings = settings
        self.waiting = WaitingMovies(settings.settle)
        self._outcomes = Outcomes(self._shown_name)
        self._last_progress = time.monotonic()
        self._lists = ListReader()
        self._room = DraftRoom(parts.room)
        parts.room.watch(self.waiting.largest, self._settle_gains)
        # movies that were taken and are not finished yet, and what ends with the work on each
        self._taken: dict[Path, contextlib.ExitStack] = {}
        # made with the first finished movie
        self._children: Children | None = None
        self._gain: GainInMount | None = None
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._thread.start()

    def add(self, place: Path) -> None:
        """Schedule a check of a plain file after the settle time; returns at once."""
        if has_archived_form(place.name):
            self.waiting.put(place, self._settings.settle)
        elif is_reference_name(place.name):
            self.waiting.wake(Why.GAIN)

    def is_busy(self) -> bool:
        """Return True while movies are archived."""
        return bool(self._taken)

    def search_again(self) -> None:
        """Search for movies later, because a folder may have been renamed; returns at once."""
        self.waiting.search_again(max(self._settings.settle, 1))

    def settle_now(self) -> None:
        """Try movies that wait for a delay now, except those that changed recently; returns at once.

        Gain references are made from the movies that wait for one now. Movies that arrive later wait as usual.
        """
        self._settle_gains()
        self.waiting.wake(Why.RETRY)
        self.waiting.wake(Why.ROOM)

    def _settle_gains(self) -> None:
        if self._gain is not None and self._gain.settle_now():
            self.waiting.wake(Why.GAIN)

    def facts(self) -> dict[str, Any]:
        """Return figures of movies that wait, were archived, stay plain or failed, and the state of the thread."""
        facts = waiting_facts(self.waiting.snapshot(), self._shown_name)
        is_at_work = facts["waiting"][Why.INGESTING.value]["files"]
        return {
            **facts,
            **self._outcomes.facts(),
            "searching": self.waiting.is_searching,
            "alive": self._thread.is_alive(),
            "seconds_without_progress": round(time.monotonic() - self._last_progress, 1) if is_at_work else 0.0,
        }

    def stop(self) -> None:
        """End the thread and the child processes; a step that is under way is completed."""
        self.waiting.stop()
        # a thread that is still starting children has nothing to complete, and the children end with this process
        if self._children is not None and self._children.stop(_LAST_SECONDS):
            self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(StoppedError):
            while True:
                self.waiting.wait(self._candidates)
                self._last_progress = time.monotonic()
                try:
                    self._ingest()
                    if self._gain is not None:
                        self._gain.make_references()
                except (CryofsError, OSError) as error:
                    for place in self._left():
                        self._delay(place, error)
                except Exception as error:
                    log.exception("unexpected error; these movies stay plain until they change")
                    for place in self._left():
                        self._fail(place, error)

    def _candidates(self) -> list[Path]:
        folders = folders_of(self._parts.root.path)
        return [folder / name for folder, names in folders for name in sorted(names) if has_archived_form(name)]

    def _ready(self) -> Iterator[Path]:
        """Yield finished movies that are due and have room for a draft, until a gain estimate is due."""
        while (
            not (self._gain is not None and self._gain.is_due)
            and (place := self.waiting.take(self._room.largest())) is not None
        ):
            self.waiting.check_stop()
            self._taken.setdefault(place, contextlib.ExitStack()).enter_context(self._parts.times.kept(place.parent))
            if self._is_ready(place):
                self._room.begin(place, bytes_on_disk(place) or 0)
                yield place
            else:
                self._taken.pop(place).close()

    def _is_ready(self, place: Path) -> bool:
        """Return True if a plain file is a finished movie; otherwise let it wait, or remove it from the table."""
        settle = self._settings.settle
        try:
            if self._parts.live.has_writer(place):
                # the close of the last writer schedules another check
                self.waiting.wait_on(place, Why.OPEN, None)
                return False
            found = place.lstat()
            if self._gain is not None and self._gain.holds(place, state_of(found)):
                self._gain.wait(place)
                return False
            if os.path.lexists(archived_path(place)):
                with self._parts.names.changing(place):
                    pass  # completes a step of this name that an error interrupted
            if os.path.lexists(archived_path(place)) or self._outcomes.has_failed(place, state_of(found)):
                self.waiting.done(place)
                return False
            judged = judge(place, self._lists, settle, self._settings.gain_files)
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
                self.waiting.wait_on(place, Why.UNFINISHED, None, self._reason(place, judged.reason))
        return judged.verdict is Verdict.READY

    def _ingest(self) -> None:
        """Archive movies until none is ready, or one turn is complete."""
        ready = itertools.islice(self._ready(), _MOST_IN_TURN)
        if (first := next(ready, None)) is not None:
            self._archive(itertools.chain([first], ready))

    def _left(self) -> list[Path]:
        """Return the movies whose archiving an error ended, and forget them."""
        left = list(self._taken)
        for place in left:
            self._taken.pop(place).close()
            self._room.end(place)
        return left

    def _archive(self, ready: Iterator[Path]) -> None:
        children, gain = self._started()
        with contextlib.closing(children.archive(ready, gain.without_gain(), self._check)) as archived:
            for place, error in archived:
                with self._taken.pop(place, contextlib.ExitStack()):
                    self._ended(place, error)
                self._check()

    def _started(self) -> "tuple[Children, GainInMount]":
        if self._children is None or self._gain is None:
            # imported late, because it takes most of the startup time
            from cryofs.ingest.children import Children
            from cryofs.ingest.gain_in_mount import GainInMount

            self._children = Children(self._parts, self._settings, self._archived)
            gain, root = self._settings.gain, self._parts.root
            self._gain = GainInMount(root, gain, self.waiting, self._children, self._shown, self._check)
        return self._children, self._gain

    def _check(self) -> None:
        """Record progress; raise StoppedError if the mount ends."""
        self._last_progress = time.monotonic()
        self.waiting.check_stop()

    def _archived(self, place: Path, original_bytes: int, stored_bytes: int) -> None:
        self._outcomes.archived(place, original_bytes, stored_bytes)
        self._room.end(place, stored_bytes)

    def _ended(self, place: Path, error: Exception | None) -> None:
        if error is not None and _lacks_room(error):
            self._room.did_not_fit(place)
        else:
            self._room.end(place)
        match error:
            case None:
                self._done(place)
            case NoReferenceError():
                self._wait_for_gain(place)
            case ChangedError():
                self.add(place)
            case FileNotFoundError():
                self._gone(place)
            case NotSmallerError() | FormatError():
                self._keep(place, str(error))
            case DiedError() | NoProcessError():
                self._delay(place, error)
            case _:
                self._fail(place, error)

    def _done(self, place: Path) -> None:
        self.waiting.done(place)
        if self._gain is not None:
            self._gain.remove(place)

    def _wait_for_gain(self, place: Path) -> None:
        _, gain = self._started()
        try:
            gain.add(place)
        except (CryofsError, OSError) as error:
            self._fail(place, error)
        else:
            gain.wait(place)

    def _keep(self, place: Path, reason: str) -> None:
        """Record the checksum of a file that stays plain, so that it is not tried again until it changes."""
        try:
            hashed = hash_file(place, lambda _: self._check())
            with self._parts.names.locked(place), self._parts.times.kept(place.parent):
                if self._parts.live.has_writer(place) or state_of(place.lstat()) != state_of(hashed.found):
                    self.add(place)
                    return
                set_seen(place, hashed.sha256, hashed.found)
        except ChangedError:
            self.add(place)
        except (CryofsError, OSError) as error:
            self._fail(place, error)
        else:
            self._done(place)
            text = self._reason(place, reason)
            self._outcomes.kept_plain(place, text)
            log.info("%s: kept plain (%s)", self._name(place), text)

    def _delay(self, place: Path, error: Exception) -> None:
        """Schedule another attempt; log one line for each movie and reason."""
        reason = self._reason(place, str(error))
        self._outcomes.delayed(f"{self._shown_name(place)}: {reason}")
        if not _lacks_room(error):
            why, seconds, when = Why.RETRY, _RETRY_SECONDS, f"every {_RETRY_SECONDS:.0f} s"
        elif self._room.is_scarce:
            why, seconds, when = Why.ROOM, _ROOM_SECONDS, "once there is room"
        else:
            why, seconds, when = Why.ROOM, _QUOTA_SECONDS, f"every {_QUOTA_SECONDS:.0f} s"
        if self.waiting.wait_on(place, why, seconds, reason):
            log.warning("%s: not archived yet (%s); trying again %s", self._name(place), reason, when)

    def _fail(self, place: Path, error: Exception) -> None:
        if not os.path.lexists(place):
            self._gone(place)
            return
        # if both files exist, a call failed in the middle of the step
        if _lacks_room(error) or os.path.lexists(archived_path(place)):
            self._delay(place, error)
            return
        self._done(place)
        reason = self._reason(place, str(error))
        log.warning("%s: not archived (%s)", self._name(place), reason)
        with contextlib.suppress(OSError):
            self._outcomes.failed(place, state_of(place.lstat()), reason)

    def _gone(self, place: Path) -> None:
        """Forget a movie that was removed, or search for it again later, because its folder may have been renamed."""
        self._done(place)
        self.search_again()

    def _shown_name(self, place: Path) -> str:
        """Return the name of a place below the mountpoint."""
        return "/".join(self._parts.root.below(place))

    def _name(self, place: Path) -> str:
        return self._parts.root.name_of(place)

    def _reason(self, place: Path, text: str) -> str:
        """Return the message of an error without the name of its file, and without paths through a descriptor."""
        return self._shown(text).removeprefix(f"{self._name(place)}: ")

    def _shown(self, text: str) -> str:
        """Return a message with the name of the archive in place of paths through its descriptor."""
        root = self._parts.root
        for path in (outside(root.path), root.path):
            text = text.replace(str(path), root.name_of(root.path))
        return text


def _lacks_room(error: Exception) -> bool:
    return isinstance(error, FullDiskError) or (isinstance(error, OSError) and is_full(error))


def outside(path: Path) -> Path:
    """Return a path through a descriptor of this process so that other processes can use it."""
    return Path("/proc") / str(os.getpid()) / path.relative_to("/proc/self")


def inside(path: Path) -> Path:
    """Return the original of a path that `outside` returned."""
    return Path("/proc/self") / path.relative_to(f"/proc/{os.getpid()}")
