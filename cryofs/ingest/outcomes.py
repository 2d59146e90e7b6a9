"""Figures of the movies that a writable mount archived, kept plain, or failed to archive since it was mounted.

Threads: safe to call from any thread.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cryofs.ingest.waiting import WaitingMovie, Why
from cryofs.storage.file_state import FileState, is_still
from cryofs.text import MOST_LINES, first_lines, printable

# Reasons whose movies are listed by name, because they need attention.
_NAMED = (Why.UNFINISHED, Why.RETRY, Why.ROOM, Why.GAIN)


class Outcomes:
    """Figures of archived movies, of those that stay plain, and of those that failed.

    Parameters
    ----------
    name_of : callable
        Returns the name of a place as the mount shows it.
    """

    def __init__(self, name_of: Callable[[Path], str]):
        self._name_of = name_of
        self._lock = threading.Lock()
        self._ingested = self._original_bytes = self._stored_bytes = 0
        self._kept_plain = 0
        self._last_kept: deque[str] = deque(maxlen=MOST_LINES)
        # movies that failed, which are not tried again before they change
        self._failed: dict[Path, tuple[FileState, str]] = {}
        self._last_error = ""

    def archived(self, place: Path, original_bytes: int, stored_bytes: int) -> None:
        """Count an archived movie."""
        with self._lock:
            self._ingested += 1
            self._original_bytes += original_bytes
            self._stored_bytes += stored_bytes
            self._failed.pop(place, None)
            self._last_error = ""

    def kept_plain(self, place: Path, reason: str) -> None:
        """Count a file that stays plain until it changes."""
        with self._lock:
            self._kept_plain += 1
            self._last_kept.append(f"{self._name_of(place)}: {reason}")

    def failed(self, place: Path, state: FileState, reason: str) -> None:
        """Note a movie that failed, and its state."""
        with self._lock:
            self._failed[place] = state, reason

    def has_failed(self, place: Path, state: FileState) -> bool:
        """Return True if a movie failed in this state."""
        with self._lock:
            return place in self._failed and self._failed[place][0] == state

    def delayed(self, reason: str) -> None:
        """Note why the last movies could not be archived yet; forgotten with the next archived movie."""
        with self._lock:
            self._last_error = f"{time.strftime('%H:%M:%S')} {reason}"

    def facts(self) -> dict[str, Any]:
        """Return the figures."""
        with self._lock:
            failed = dict(self._failed)
        # movies that were removed or changed no longer count as failed
        gone = [place for place, (state, _) in failed.items() if not is_still(place, state, follow_links=False)]
        with self._lock:
            for place in gone:
                if self._failed.get(place) == failed.pop(place):
                    del self._failed[place]
            failures = (f"{self._name_of(place)}: {reason}" for place, (_, reason) in failed.items())
            return {
                "ingested": self._ingested,
                "original_bytes": self._original_bytes,
                "stored_bytes": self._stored_bytes,
                "saved_bytes": self._original_bytes - self._stored_bytes,
                "kept_plain": self._kept_plain,
                "kept_plain_names": first_lines(self._last_kept),
                "failed": len(failed),
                "failed_names": first_lines(failures),
                "last_error": printable(self._last_error),
            }


def waiting_facts(movies: dict[Path, WaitingMovie], name_of: Callable[[Path], str]) -> dict[str, Any]:
    """Return the figures of movies that wait, in total and for each reason.

    Each reason has the numbers of `files` and `bytes`, the age of the oldest in seconds, and how many are `due`, which
    are looked at next; some have the names of their movies.
    """
    now, now_monotonic = time.time(), time.monotonic()
    reasons: dict[str, dict[str, Any]] = {}
    for why in Why:
        found = [(place, movie) for place, movie in movies.items() if movie.why is why]
        reasons[why.value] = {
            "files": len(found),
            "bytes": sum(movie.size for _, movie in found),
            "oldest_seconds": _oldest((movie for _, movie in found), now),
            "due": sum(movie.due is not None and movie.due <= now_monotonic for _, movie in found),
        }
        if why in _NAMED:
            lines = (f"{name_of(place)}: {movie.reason}".removesuffix(": ") for place, movie in found)
            reasons[why.value]["names"] = first_lines(lines)
    return {
        "waiting_files": len(movies),
        "waiting_bytes": sum(movie.size for movie in movies.values()),
        "oldest_seconds": _oldest(movies.values(), now),
        "waiting": reasons,
    }


def _oldest(movies: Iterable[WaitingMovie], now: float) -> float:
    """Return the time that the oldest movie has waited in seconds; 0 without movies."""
    return round(max(0.0, now - min((movie.since for movie in movies), default=now)), 1)
