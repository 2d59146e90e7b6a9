"""Write changed attributes of archived movies into their records while a mount archives no movies.

Until then they are in extended attributes, which copies of the archive may lack.

Threads: safe to call from any thread.
"""

import contextlib
import logging
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

from cryofs.compress.full_disk import is_full
from cryofs.errors import ChangedError, CryofsError
from cryofs.formats.archive_names import original_name
from cryofs.ingest.record_attributes import changed_movies, is_changed, recorded_draft, replace_record
from cryofs.ingest.waiting import StoppedError, WaitingMovies, Why
from cryofs.vfs.changing import MountParts

# How long the end of a mount waits for a step that is under way.
_LAST_SECONDS = 10.0
# How long a movie waits while others are archived, or after an error that may pass.
_RETRY_SECONDS = 10.0

log = logging.getLogger("cryofs")


class Recording:
    """The thread that writes records, and the archived movies that wait for it.

    Parameters
    ----------
    settle : float
        Seconds since the last change of attributes.
    is_busy : callable
        Returns True while movies are archived, which comes first.
    """

    def __init__(self, parts: MountParts, settle: float, is_busy: Callable[[], bool]):
        self._parts = parts
        self._settle = settle
        self._is_busy = is_busy
        self._waiting = WaitingMovies(settle)
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def add(self, archived: Path) -> None:
        """Write the record of an archived movie once its attributes are settled; returns at once."""
        self._waiting.put(archived, self._settle)

    def stop(self) -> None:
        """End the thread; the extended attributes stay."""
        self._waiting.stop()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(StoppedError):
            while True:
                self._waiting.wait(self._candidates)
                while (archived := self._waiting.take(math.inf)) is not None:
                    try:
                        self._write(archived)
                    except Exception:
                        log.exception("unexpected error; the extended attribute of the movie stays")
                        self._waiting.done(archived)

    def _candidates(self) -> list[Path]:
        found = []
        for archived in changed_movies(self._parts.root.path):
            self._waiting.check_stop()
            found.append(archived)
        return found

    def _write(self, archived: Path) -> None:
        if not is_changed(archived):
            self._gone(archived)
            return
        if self._is_busy():
            self._waiting.wait_on(archived, Why.RETRY, _RETRY_SECONDS)
            return
        name = self._parts.root.name_of(archived)
        try:
            self._replace(archived)
        except ChangedError:
            self._waiting.wait_on(archived, Why.SETTLING, max(self._settle, 1))
        except FileNotFoundError:
            self._gone(archived)
        except (CryofsError, OSError) as error:
            may_pass = isinstance(error, OSError) and is_full(error)
            if not may_pass:
                self._waiting.done(archived)
            if not may_pass or self._waiting.wait_on(archived, Why.RETRY, _RETRY_SECONDS, str(error)):
                log.warning("%s: changed attributes not recorded (%s)", name, error)
        else:
            self._waiting.done(archived)
            log.info("%s: changed attributes recorded", name)

    def _gone(self, archived: Path) -> None:
        """Forget a movie that changed otherwise; search for it later if it or its folder was renamed."""
        self._waiting.done(archived)
        if not os.path.lexists(archived):
            self._waiting.search_again(max(self._settle, 1))

    def _replace(self, archived: Path) -> None:
        parts, place = self._parts, archived.with_name(original_name(archived.name) or archived.name)
        parts.room.check_file(archived.stat().st_size)
        with (
            parts.times.kept(place.parent),
            recorded_draft(archived, check=self._waiting.check_stop) as (made, source),
            parts.names.changing(place),
            parts.users(place, None, made.path, archived) as users,
        ):
            replace_record(made, source, users.switch)
