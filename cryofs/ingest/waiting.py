"""Table of the plain movies of a writable mount that wait to be archived, with reason, age and due time.

A movie stays in the table while it is worked on. If it is written again meanwhile, its new entry outlives the work. No
call takes longer because more movies wait, except those that concern all of them.

Threads: safe to call from any thread; one thread takes movies.
"""

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from cryofs.vfs.room import bytes_on_disk

# Interval of the checks for room while movies wait for it.
_ROOM_SECONDS = 1.0


class Why(Enum):
    """What a movie waits for."""

    SETTLING = "settling"
    GAIN = "gain"
    OPEN = "open"
    UNFINISHED = "unfinished"
    RETRY = "retry"
    ROOM = "room"
    INGESTING = "ingesting"


@dataclass(frozen=True)
class WaitingMovie:
    """A movie that waits.

    Attributes
    ----------
    size : int
        Bytes on the disk.
    since : float
        When it began to wait, in seconds since 1970.
    due : float or None
        When it is due, by the monotonic clock; None if it waits for an event.
    reason : str
        Details for figures and messages; kept while the movie is taken.
    """

    size: int
    since: float
    why: Why
    due: float | None
    reason: str = ""

    @property
    def needs_room(self) -> bool:
        """True if a draft may be written for it."""
        return self.why is not Why.UNFINISHED


class StoppedError(BaseException):
    """The mount ends."""


class _Queue:
    """Movies in the order of a number; those that have another entry in the table by now are skipped."""

    def __init__(self, movies: dict[Path, WaitingMovie]):
        self._movies = movies
        self._entries: list[tuple[float, int, Path, WaitingMovie]] = []
        self._counter = itertools.count()

    def push(self, number: float, place: Path) -> None:
        """Add a movie of the table."""
        heapq.heappush(self._entries, (number, next(self._counter), place, self._movies[place]))
        if len(self._entries) > 2 * len(self._movies) + 64:
            self._entries = [entry for entry in self._entries if self._movies.get(entry[2]) is entry[3]]
            heapq.heapify(self._entries)

    def first(self) -> tuple[float, Path] | None:
        """Return the first movie and its number, or None."""
        while self._entries:
            number, _, place, movie = self._entries[0]
            if self._movies.get(place) is movie:
                return number, place
            heapq.heappop(self._entries)
        return None


class WaitingMovies:
    """The table of waiting movies, by their places."""

    def __init__(self, search_after: float):
        self._changed = threading.Condition()
        self._movies: dict[Path, WaitingMovie] = {}
        self._due = _Queue(self._movies)
        # movies for whose drafts there was no room, the smallest first
        self._large = _Queue(self._movies)
        # the places of movies that need room, by their sizes
        self._sizes: dict[int, set[Path]] = {}
        self._is_stopped = False
        self._is_searching = False
        # when to search for movies that an earlier mount left, or whose folder was renamed
        self._search_at: float | None = time.monotonic() + search_after

    def put(self, place: Path, seconds: float) -> None:
        """Add a movie that may have changed, due after some seconds."""
        self._wait(place, Why.SETTLING, seconds)

    def wait_on(self, place: Path, why: Why, seconds: float | None, reason: str = "") -> bool:
        """Let a taken movie wait again, unless it has changed since; return True if the reason is new.

        Parameters
        ----------
        seconds : float or None
            When it is due again; None if it waits for an event.
        reason : str
            Details for figures and messages.
        """
        with self._changed:
            known = self._movies.get(place)
        self._wait(place, why, seconds, reason, only_taken=True)
        return known is None or known.reason != reason

    def _wait(
        self, place: Path, why: Why, seconds: float | None, reason: str = "", *, only_taken: bool = False
    ) -> None:
        size = bytes_on_disk(place)
        with self._changed:
            known = self._movies.get(place)
            if only_taken and (known is None or known.why is not Why.INGESTING):
                return
            if size is None:
                self._set(place, None)
                return
            since = time.time() if known is None else known.since
            due = None if seconds is None else time.monotonic() + seconds
            self._set(place, WaitingMovie(size, since, why, due, reason))
            self._changed.notify_all()

    def _set(self, place: Path, movie: WaitingMovie | None) -> None:
        """Enter a movie, or remove it."""
        known = self._movies.pop(place, None)
        if known is not None and known.needs_room:
            self._sizes[known.size].discard(place)
            if not self._sizes[known.size]:
                del self._sizes[known.size]
        if movie is None:
            return
        self._movies[place] = movie
        if movie.needs_room:
            self._sizes.setdefault(movie.size, set()).add(place)
        if movie.due is not None:
            self._due.push(movie.due, place)

    def wait(self, candidates: Callable[[], list[Path]]) -> None:
        """Return when a movie is due.

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
                elif (seconds := self._seconds(now)) is not None and seconds <= 0:
                    return
                else:
                    self._changed.wait(seconds)
                    if self._large.first() is not None:
                        return
            if is_search_due:
                try:
                    for place in candidates():
                        if place not in self._movies:
                            self.put(place, 0)
                finally:
                    self._is_searching = False

    def take(self, largest: float) -> Path | None:
        """Return a movie that is due, as `INGESTING`, or None.

        Parameters
        ----------
        largest : float
            Size of the largest movie for whose draft there is room; larger ones wait, then the smallest comes first.
        """
        with self._changed:
            if (found := self._large.first()) is not None and found[0] <= largest:
                return self._taken(found[1])
            now = time.monotonic()
            while (found := self._due.first()) is not None and found[0] <= now:
                movie = self._movies[found[1]]
                if movie.size <= largest:
                    return self._taken(found[1])
                self._set(found[1], replace(movie, why=Why.ROOM, due=None))
                self._large.push(movie.size, found[1])
            return None

    def _taken(self, place: Path) -> Path:
        self._set(place, replace(self._movies[place], why=Why.INGESTING, due=None))
        return place

    def _seconds(self, now: float) -> float | None:
        """Return the time until a movie is due in seconds; None if none will be."""
        moments = [] if self._search_at is None else [self._search_at]
        if (first := self._due.first()) is not None:
            moments.append(first[0])
        if self._large.first() is not None:
            moments.append(now + _ROOM_SECONDS)
        return min(moments) - now if moments else None

    def largest(self) -> int:
        """Return the bytes of the largest waiting movie; 0 without one. Incomplete movies do not count."""
        while True:
            with self._changed:
                if not self._sizes:
                    return 0
                size = max(self._sizes)
                place = next(iter(self._sizes[size]))
                movie = self._movies[place]
            if os.path.lexists(place):
                return size
            self._forget(place, movie)

    def done(self, place: Path) -> None:
        """Forget a movie that was taken and need not wait any longer, unless it has changed since."""
        with self._changed:
            if (movie := self._movies.get(place)) is not None and movie.why is Why.INGESTING:
                self._set(place, None)

    def wake(self, why: Why, places: Iterable[Path] | None = None, seconds: float = 0.0) -> None:
        """Schedule movies that wait for a reason, all or some of them, now or after some seconds."""
        with self._changed:
            due = time.monotonic() + seconds
            for place in list(self._movies) if places is None else places:
                movie = self._movies.get(place)
                if movie is not None and movie.why is why:
                    self._set(place, replace(movie, due=due))
            self._changed.notify_all()

    def search_again(self, seconds: float) -> None:
        """Search the archive again after some seconds, because a folder was renamed."""
        with self._changed:
            if self._search_at is None:
                self._search_at = time.monotonic() + seconds
                self._changed.notify_all()

    @property
    def is_searching(self) -> bool:
        """True if a search of the archive is running or scheduled."""
        return self._is_searching or self._search_at is not None

    def snapshot(self) -> dict[Path, WaitingMovie]:
        """Return the movies that wait; those that were removed meanwhile are forgotten."""
        with self._changed:
            movies = dict(self._movies)
        for place, movie in movies.copy().items():
            if not os.path.lexists(place):
                del movies[place]
                self._forget(place, movie)
        return movies

    def _forget(self, place: Path, movie: WaitingMovie) -> None:
        """Forget a movie that was removed, unless it has another entry by now."""
        with self._changed:
            if self._movies.get(place) is movie:
                self._set(place, None)

    def stop(self) -> None:
        """End the wait of the thread that takes movies."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def check_stop(self) -> None:
        """Raise StoppedError if the mount ends."""
        if self._is_stopped:
            raise StoppedError
