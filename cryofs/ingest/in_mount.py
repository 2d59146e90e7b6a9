"""Change the archived movies of a writable mount (`cryofs.vfs.changing.ArchivedMovies`).

Threads: safe to call from any thread. A thaw decodes before it locks the name, except where the caller has locked it.
"""

import contextlib
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cryofs.config.settings import Settings
from cryofs.errors import ChangedError
from cryofs.formats.archive_names import archived_path
from cryofs.ingest.in_background import Ingester
from cryofs.ingest.left_step import end_left_step
from cryofs.ingest.moved_gains import MovedGains
from cryofs.ingest.moves import Moves
from cryofs.ingest.record_attributes import changed_by, hold, recorded_draft, replace_record
from cryofs.ingest.recording import Recording
from cryofs.ingest.thaw import check_changeable, check_removable, original_draft, remove_plain_twin, replace_by_original
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.storage import changes
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import drop_lines
from cryofs.storage.extended_attributes import users_attributes
from cryofs.storage.file_state import FileState, state_of
from cryofs.system import deadlines, late_calls
from cryofs.vfs.attribute_changes import set_attributes
from cryofs.vfs.changing import AttributeChange, MountParts
from cryofs.vfs.name_locks import NameLocks


class MountedMovies:
    """The archived movies of a mount."""

    def __init__(self, parts: MountParts, settings: Settings):
        self._parts = parts
        self._gains = GainLibrary(parts.root.path)
        self._pool = ThreadPoolExecutor(settings.jobs, "thaw")
        # one thaw of a name at a time; taken before the lock of the name, never after it
        self._thawing = NameLocks()
        # thaws that may outlive the requests that began them
        self._late: dict[Path, Future[None]] = {}
        self._late_lock = threading.Lock()
        parts.names.settle = self._end_left_step
        self._ingester = Ingester(parts, settings)
        self._recording = Recording(parts, settings.settle, self._ingester.is_busy)
        self._moved_gains = MovedGains(parts.root.path, self._gains)
        self._moves = Moves(self._moved_gains, self._thaw_locked, parts.live.has_writer)

    def check_removable(self, place: Path) -> None:
        """Raise OSError if the movie of a name is derived from a TIFF movie; damaged ones can be removed."""
        check_removable(place, self._gains)

    def thaw(self, place: Path, *, empty: bool) -> None:
        """Replace the archived movie of a name by its original, durably; StuckError if the request ends before."""
        if deadlines.seconds_left() is None:
            self._thaw(place, empty=empty)
            return
        with self._late_lock:
            late = self._late.get(place)
            if late is None:
                late = self._late[place] = late_calls.begin(lambda: self._thaw(place, empty=empty))
        late.add_done_callback(lambda _: self._late.pop(place, None))
        try:
            late_calls.result_in_time(late, f"{place.name}: making it a plain file, because it is opened for writing,")
        finally:
            # a movie that no program has opened by then is archived again
            self._ingester.add(place)

    def _thaw(self, place: Path, *, empty: bool) -> None:
        with self._thawing.locked(place):
            state = _state(place)
            if state is None:
                return
            try:
                kept = self._parts.times.kept(place.parent)
                with kept, self._original(place, empty=empty) as draft, self._parts.names.changing(place):
                    # otherwise removed, renamed or changed in the meantime, and the caller looks again
                    if _state(place) == state:
                        self._replace_by(draft, place)
            except ChangedError:
                if _state(place) == state:
                    raise

    def _thaw_locked(self, place: Path) -> None:
        """Replace the archived movie of a name that the caller has locked."""
        with self._parts.times.kept(place.parent), self._original(place, empty=False) as draft:
            self._replace_by(draft, place)

    def _replace_by(self, draft: Path, place: Path) -> None:
        with self._parts.users(place, None, draft, place) as users:
            replace_by_original(draft, place, users)

    def _end_left_step(self, place: Path) -> None:
        with self._parts.users(place, None) as users:
            end_left_step(place, users)

    def _original(self, place: Path, *, empty: bool) -> AbstractContextManager[Path]:
        room = self._parts.room
        return original_draft(place, self._gains, self._pool, room.check_file, empty=empty)

    def move(self, place: Path, target: Path, flags: int) -> None:
        """Rename where the source or the target is an archived movie."""
        for one in (place, target):
            if _state(one) is not None:
                self.check_removable(one)
        self._moves.move(place, target, flags)

    def remove(self, place: Path) -> None:
        """Remove the archived movie of a name."""
        self.check_removable(place)
        archived = archived_path(place)
        # first, because it would be shown once the archived movie is gone
        remove_plain_twin(place)
        drop_lines(place, archived)
        changes.disk.remove(archived)

    def folder_moves(self, folder: Path, target: Path) -> None:
        """Make the gain references of the movies in a folder findable after its rename, and search for plain movies."""
        self._moved_gains.provide_all(folder, target.parent)
        self._ingester.search_again()

    def set_attributes(self, place: Path, change: AttributeChange) -> None:
        """Set attributes. Owner and group are those of the archived file; mode and times are recorded later."""
        archived = archived_path(place)
        with ArchivedMovie(archived, self._gains) as movie:
            check_changeable(movie, place)
            if change.mtime_ns is not None and regular_file(place) is not None:
                # it does not count only because it has the time of the original
                remove_plain_twin(place)
                drop_lines(place)
            source, original = movie.source, movie.record.original
            set_attributes(source.descriptor, AttributeChange(uid=change.uid, gid=change.gid))
            changed = changed_by(original, change)
            is_held = changed == original.attributes or hold(source, original, changed)
        if is_held:
            # open handles show them too
            with self._parts.users(place, None) as users:
                users.switch()
            self._recording.add(archived)
        else:
            self._parts.room.check_file(source.size)
            with (
                self._parts.times.kept(place.parent),
                recorded_draft(archived, changed) as (made, source),
                self._parts.users(place, None, made.path, archived) as users,
            ):
                replace_record(made, source, users.switch)

    def sync(self, place: Path) -> None:
        """Make the attributes of the movie of a name durable."""
        # otherwise it is a plain file by now, which is durable
        with contextlib.suppress(FileNotFoundError), LocalFile.open(archived_path(place)) as source:
            changes.disk.sync(source.descriptor)

    def set_extended(self, place: Path, name: str, value: bytes | None, flags: int) -> None:
        """Set or remove an attribute `user.*`, which the archived movie has in place of its original."""
        archived = archived_path(place)
        if value is None:
            changes.disk.remove_attribute(archived, name)
        else:
            changes.disk.set_attribute_of(archived, name, value, flags)

    def get_extended(self, place: Path, name: str) -> bytes:
        """Return an attribute `user.*`."""
        return os.getxattr(archived_path(place), name, follow_symlinks=False)

    def list_extended(self, place: Path) -> list[str]:
        """Return the names of the attributes `user.*`."""
        with LocalFile.open(archived_path(place)) as source:
            return users_attributes(source.descriptor)

    def plain_closed(self, place: Path) -> None:
        """Note that a plain file may be a finished movie."""
        self._ingester.add(place)

    def settle_now(self) -> None:
        """Look at once at the plain movies that wait for a time to pass, except for those that settle."""
        self._ingester.settle_now()

    def facts(self) -> dict[str, Any]:
        """Return figures of what becomes of plain movies."""
        return self._ingester.facts()

    def stop(self) -> None:
        """Stop the threads and child processes."""
        self._recording.stop()
        self._ingester.stop()
        with contextlib.suppress(RuntimeError):
            self._pool.shutdown(wait=False, cancel_futures=True)


def _state(place: Path) -> FileState | None:
    """Return the state of the archived movie of a name, or None if there is none."""
    found = regular_file(archived_path(place))
    return None if found is None else state_of(found)
