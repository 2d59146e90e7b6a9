"""Movies of floating-point values that no gain reference of the archive fits.

They stay plain and readable. Their gain is estimated by a worker process as they come (`make_references`), and they are
archived once a reference fits them. Between two movies nothing is read and nothing is computed.

Threads: `settle_now` may be called from any thread, everything else from one thread.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import CryofsError
from cryofs.gain.estimation import MIN_FRAMES_TO_JUDGE
from cryofs.gain.waiting_estimates import remove_estimates
from cryofs.ingest.make_references import Answer, Patience, Request
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.file_state import FileState, is_still, state_of

# Pause after an error of the worker, for example because no space is left for a reference.
_RETRY_SECONDS = 60.0

PATIENCE = Patience()

# States of the gain references of a folder and those above, by path.
_References = Mapping[Path, FileState]


@dataclass
class _Waiting:
    """A movie that waits.

    Attributes
    ----------
    state : FileState
        State of the file that no reference fitted.
    references : mapping
        The references that were there.
    is_short : bool
        Whether it has too few frames for an estimate.
    """

    state: FileState
    references: _References
    is_short: bool


class GainWait:
    """The movies of an archive that wait for a gain reference.

    Parameters
    ----------
    make : callable
        Makes references (`make_references.MakeReferences`); raises the errors of the worker process.
    note : callable
        Called with a message for each reference, and for errors.
    """

    def __init__(
        self,
        archive: Path,
        make: Callable[[Request, Patience], Answer],
        note: Callable[[str], None],
    ):
        self._archive = archive
        self._make = make
        self._note = note
        self._patience = PATIENCE
        self._library = GainLibrary(archive)
        self._waiting: dict[Path, _Waiting] = {}
        # movies that no reference will fit; their values are stored as they are
        self._without: dict[Path, FileState] = {}
        self._has_new = False
        self._is_urgent = False
        # when the worker makes a reference without further movies, and the earliest next attempt after an error
        self._due: float | None = None
        self._not_before = 0.0
        # an earlier process may have left some
        self._may_have_estimates = True

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._waiting)

    def __contains__(self, place: object) -> bool:
        return place in self._waiting

    def without_gain(self) -> frozenset[Path]:
        """Return the movies to archive without a gain reference, unless they changed since."""
        return frozenset(place for place, state in self._without.items() if is_still(place, state, follow_links=False))

    def settle_now(self) -> bool:
        """Make references from the waiting movies at the next `update`; return False if this changes nothing.

        The caller wakes the thread that updates.
        """
        if self._is_urgent or not self._waiting:
            return False
        self._is_urgent = True
        return True

    @property
    def is_due(self) -> bool:
        """True if `update` has references to make."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def add(self, place: Path) -> None:
        """Let a movie wait that no reference of the archive fits.

        Raises
        ------
        CryofsError, OSError
            The movie cannot be read.
        """
        state, references = state_of(place.lstat()), self._references(place.parent)
        with MrcMovie(place) as movie:
            is_short = movie.shape[0] < MIN_FRAMES_TO_JUDGE
        known = self._waiting.get(place)
        if not is_short and (known is None or known.state != state):
            self._has_new = True
        self._waiting[place] = _Waiting(state, references, is_short)

    def remove(self, place: Path) -> None:
        """Forget a movie that is archived, or that stays plain for another reason."""
        self._waiting.pop(place, None)
        self._without.pop(place, None)

    def holds(self, place: Path, state: FileState) -> bool:
        """Return True if a movie waits, and another attempt would find no reference either."""
        waiting = self._waiting.get(place)
        return waiting is not None and waiting.state == state and waiting.references == self._references(place.parent)

    def seconds_left(self) -> float | None:
        """Return the time until `update` has to be called; None if nothing is due without another movie."""
        moments = [] if self._due is None else [self._due]
        if self._waiting and (self._has_new or self._is_urgent):
            moments.append(0.0)
        if short := self._short():
            moments.append(self._short_due(short))
        return max(min(moments), self._not_before) - time.time() if moments else None

    def update(self) -> list[Path]:
        """Make the references that are due; return the movies to archive now, which no longer wait."""
        self._forget_missing()
        released = self._with_new_references()
        if self.is_due:
            released += self._made()
        if not self._waiting and self._may_have_estimates:
            remove_estimates(self._archive)
            self._may_have_estimates = False
        return released

    def _forget_missing(self) -> None:
        for place in list(self._waiting):
            if is_still(place, self._waiting[place].state, follow_links=False):
                continue
            # removed, renamed or changed; a changed movie is scheduled again by its writer
            del self._waiting[place]

    def _with_new_references(self) -> list[Path]:
        """Return the movies for which another program has added a reference; they wait until they are tried."""
        folders = {folder: self._references(folder) for folder in {place.parent for place in self._waiting}}
        return [place for place, one in self._waiting.items() if one.references != folders[place.parent]]

    def _made(self) -> list[Path]:
        is_urgent, self._is_urgent = self._is_urgent, False
        released = self._overdue(is_urgent)
        movies = tuple(place for place, waiting in self._waiting.items() if not waiting.is_short)
        self._due, self._not_before = None, 0.0
        if not movies:
            return released
        self._may_have_estimates = True
        try:
            answer = self._make(Request(movies, is_urgent), self._patience)
        except (CryofsError, OSError) as error:
            self._note(f"gain not estimated ({error}); trying again in {_RETRY_SECONDS:.0f} s")
            self._has_new = True
            self._is_urgent = self._is_urgent or is_urgent
            self._not_before = time.time() + _RETRY_SECONDS
            return released
        self._has_new = False
        self._due = answer.due
        # what the new references do not fit needs others, which are made now as well
        self._is_urgent = self._is_urgent or (is_urgent and answer.due is not None and answer.due <= time.time())
        for text in answer.notes:
            self._note(text)
        for place in answer.without:
            self._without[place] = self._waiting[place].state
        released += [*answer.fitting, *answer.without]
        for place in released:
            self._waiting.pop(place, None)
        made = _states([self._archive / name for name in answer.made])
        for place in movies:
            if place in self._waiting:
                # the new references do not fit it; another program may have added one meanwhile
                self._waiting[place].references = {**self._waiting[place].references, **made}
        return released

    def _overdue(self, is_urgent: bool) -> list[Path]:
        """Release the movies with too few frames for an estimate if they have waited long enough."""
        short = self._short()
        if not short or (not is_urgent and self._short_due(short) > time.time()):
            return []
        for place, waiting in short.items():
            self._without[place] = waiting.state
            del self._waiting[place]
        return list(short)

    def _short_due(self, short: Mapping[Path, _Waiting]) -> float:
        newest = max(one.state.ctime_ns / 1e9 for one in short.values())
        return 0.0 if len(short) >= self._patience.movies else newest + self._patience.seconds

    def _short(self) -> dict[Path, _Waiting]:
        return {place: waiting for place, waiting in self._waiting.items() if waiting.is_short}

    def _references(self, folder: Path) -> _References:
        return _states(self._library.paths(folder))


def _states(paths: Iterable[Path]) -> _References:
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found[path] = state_of(path.stat())
    return found
