"""The plain movies of a writable mount that wait to be archived: which, why, since when, and when to look at each.

A movie stays in the table while it is worked on. If it is written again meanwhile, its new entry outlives the work.

Threads: safe to call from any thread; one thread takes movies.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path


class Why(Enum):
    """What a movie waits for."""

    SETTLING = "settling"
    OPEN = "open"
    UNFINISHED = "unfinished"
    RETRY = "retry"
    INGESTING = "ingesting"


@dataclass(frozen=True)
class WaitingMovie:
    """A movie that waits.

    Attributes
    ----------
    size : int
        Size in bytes.
    since : float
        When it began to wait, in seconds since 1970.
    due : float or None
        When to look at it, by the monotonic clock; None if something else has to happen first.
    reason : str
        Details for people; kept while the movie is taken.
    """

    size: int
    since: float
    why: Why
    due: float | None
    reason: str = ""


class StoppedError(BaseException):
    """The mount ends."""


class WaitingMovies:
    """The table of waiting movies, by their places."""

    def __init__(self, search_after: float):
        self._changed = threading.Condition()
        self._movies: dict[Path, WaitingMovie] = {}
        self._is_stopped = False
        self._is_searching = False
        # when to look for movies that an earlier mount left, or that a renamed folder took along
        self._search_at: float | None = time.monotonic() + search_after

    def put(self, place: Path, seconds: float) -> None:
        """Let a movie wait that may have changed, and look at it after some seconds."""
        self._set(place, Why.SETTLING, seconds)

    def wait_on(self, place: Path, why: Why, seconds: float | None, reason: str = "") -> bool:
        """Let a movie that was taken wait again, unless it has changed since; return True if the reason is another one.

        Parameters
        ----------
        seconds : float or None
            When to look at it again; None if something has to happen first.
        reason : str
            Details for people.
        """
        with self._changed:
            known = self._movies.get(place)
        self._set(place, why, seconds, reason, only_taken=True)
        return known is None or known.reason != reason

    def _set(self, place: Path, why: Why, seconds: float | None, reason: str = "", *, only_taken: bool = False) -> None:
        size = _size(place)
        with self._changed:
            known = self._movies.get(place)
            if only_taken and (known is None or known.why is not Why.INGESTING):
                return
            if size is None:
                self._movies.pop(place, None)
                return
            since = time.time() if known is None else known.since
            due = None if seconds is None else time.monotonic() + seconds
            self._movies[place] = WaitingMovie(size, since, why, due, reason)
            self._changed.notify_all()

    def take(self, candidates: Callable[[], list[Path]]) -> list[Path]:
        """Return the movies that are due, as `INGESTING`; wait for the first.

        Parameters
        ----------
        candidates : callable
            Searches the archive for files with names of movies.

        Raises
        ------
        StoppedError
            The mount ends.
        """
        while True:
            with self._changed:
                self.check_stop()
                now = time.monotonic()
                is_search_due = self._search_at is not None and self._search_at <= now
                if is_search_due:
                    self._search_at, self._is_searching = None, True
                elif due := self._due(now):
                    for place in due:
                        self._movies[place] = replace(self._movies[place], why=Why.INGESTING, due=None)
                    return due
                else:
                    self._changed.wait(self._seconds(now))
            if is_search_due:
                try:
                    for place in candidates():
                        if place not in self._movies:
                            self.put(place, 0)
                finally:
                    self._is_searching = False

    def _due(self, now: float) -> list[Path]:
        return [place for place, movie in self._movies.items() if movie.due is not None and movie.due <= now]

    def _seconds(self, now: float) -> float | None:
        """Return how long nothing is due, None if nothing will be."""
        moments = [movie.due for movie in self._movies.values() if movie.due is not None]
        if self._search_at is not None:
            moments.append(self._search_at)
        return min(moments) - now if moments else None

    def done(self, place: Path) -> None:
        """Forget a movie that was taken and need not wait any longer, unless it has changed since."""
        with self._changed:
            if (movie := self._movies.get(place)) is not None and movie.why is Why.INGESTING:
                del self._movies[place]

    def wake(self, why: Why) -> None:
        """Look at once at all movies that wait for this."""
        with self._changed:
            now = time.monotonic()
            for place, movie in self._movies.items():
                if movie.why is why:
                    self._movies[place] = replace(movie, due=now)
            self._changed.notify_all()

    def search_again(self, seconds: float) -> None:
        """Search the archive again after some seconds, because a folder was renamed."""
        with self._changed:
            if self._search_at is None:
                self._search_at = time.monotonic() + seconds
                self._changed.notify_all()

    @property
    def is_searching(self) -> bool:
        """True if a search of the archive is under way, or will be."""
        return self._is_searching or self._search_at is not None

    def snapshot(self) -> dict[Path, WaitingMovie]:
        """Return the movies that wait; those that were removed meanwhile are forgotten."""
        with self._changed:
            movies = dict(self._movies)
        for place, movie in movies.copy().items():
            if not os.path.lexists(place):
                del movies[place]
                with self._changed, contextlib.suppress(KeyError):
                    if self._movies[place] is movie:
                        del self._movies[place]
        return movies

    def stop(self) -> None:
        """End the wait of the thread that takes movies."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def check_stop(self) -> None:
        """Raise StoppedError if the mount ends."""
        if self._is_stopped:
            raise StoppedError


def _size(place: Path) -> int | None:
    """Return the size of a file, None if it does not exist."""
    try:
        return os.lstat(place).st_size
    except OSError:
        return None
