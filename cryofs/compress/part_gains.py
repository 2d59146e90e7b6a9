"""Have part 1 of a run estimate the gain references for all parts; the others wait.

A part waits for each of its gain-normalised movies until a reference of the archive fits it, or until part 1 has
recorded that none does. Part 1 writes that record, `.cryofs-gains`, only for movies without a reference. It names them
with size and time, so it is valid for the same movies in later runs too, whatever the number of parts.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cryofs.archive.jobs import Job
from cryofs.compress.existing import MovieInfo
from cryofs.compress.session_gains import SessionGains
from cryofs.errors import ArchiveError
from cryofs.execution.parts import Part
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.storage import changes
from cryofs.storage.atomic_file import sync_folder, write_file

RECORD_NAME = ".cryofs-gains"

# Pauses between two looks, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0

_Key = tuple[str, int, int]


class PartGains:
    """The gain references of a part of a run.

    Parameters
    ----------
    limit : float
        How long the part waits for part 1, in seconds.
    """

    def __init__(self, archive: Path, part: Part, limit: float, gains: SessionGains, note: Callable[[str], None]):
        self._archive = archive
        self._part = part
        self._limit = limit
        self._gains = gains
        self._note = note

    def provide(self, wanted: Mapping[Job, MovieInfo], elsewhere: dict[Job, MovieInfo]) -> dict[Job, ArchiveError]:
        """Estimate missing references as part 1, or wait for them as another part.

        Parameters
        ----------
        wanted, elsewhere : mapping
            The movies of this part, and those of the other parts (needed in part 1 only).

        Returns
        -------
        dict
            Movies whose reference did not arrive within the time limit, with the errors.
        """
        movies = {job: info for job, info in wanted.items() if job.kind.is_original}
        if self._part.number > 1:
            return self._wait(self._candidates(movies))
        # in the order of a whole run, so that the estimate is the same
        movies = dict(sorted((movies | elsewhere).items(), key=lambda item: item[0].target))
        self._gains.estimate_missing(movies.values())
        if not self._part.is_whole:
            self._record(self._candidates(movies))
        return {}

    def _candidates(self, movies: Mapping[Job, MovieInfo]) -> dict[Job, MovieInfo]:
        """Return the movies that need a reference."""
        paths = {info.path for info in self._gains.candidates(movies.values())}
        return {job: info for job, info in movies.items() if info.path in paths}

    def _record(self, movies: Mapping[Job, MovieInfo]) -> None:
        """Record the movies without a reference, for the other parts."""
        path = self._archive / RECORD_NAME
        without = sorted(_key(job, info) for job, info in movies.items() if not self._gains.fits(info))
        if without:
            write_file(path, json.dumps({"without": without}, indent=1).encode() + b"\n")
        elif path.exists():
            changes.disk.remove(path, missing_ok=True)
            sync_folder(self._archive)

    def _wait(self, movies: Mapping[Job, MovieInfo]) -> dict[Job, ArchiveError]:
        waiting = dict(self._unsettled(movies.items()))
        if not waiting:
            return {}
        count = f"{len(waiting)} movie{'s' if len(waiting) > 1 else ''}"
        limit = f"at most {self._limit / 60:.0f} min"
        self._note(f"{self._part}: waiting for the gain reference that part 1 estimates ({count}, {limit}) ...")
        begun, pause = time.monotonic(), _FIRST_PAUSE
        while waiting and (left := begun + self._limit - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._gains.look_again()
            waiting = dict(self._unsettled(waiting.items()))
        if not waiting:
            self._note(f"{self._part}: continuing after {time.monotonic() - begun:.0f} s")
        # integers are stored without a reference
        return {job: self._error(job) for job, info in waiting.items() if info.mode == MODE_FLOAT32}

    def _unsettled(self, movies: Iterable[tuple[Job, MovieInfo]]) -> Iterable[tuple[Job, MovieInfo]]:
        """Yield the movies that no reference fits, and that part 1 has not recorded as such."""
        without = self._without()
        for job, info in movies:
            if _key(job, info) not in without and not self._gains.fits(info):
                yield job, info

    def _without(self) -> set[_Key]:
        try:
            found = json.loads((self._archive / RECORD_NAME).read_bytes())
            return {(name, size, mtime_ns) for name, size, mtime_ns in found["without"]}
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def _error(self, job: Job) -> ArchiveError:
        first = f"--part 1/{self._part.count}"
        return ArchiveError(
            f"{job.source}: no gain reference from part 1 within {self._limit / 60:.0f} min; run part 1 ({first}), "
            "then this part again with --only-do-unfinished"
        )


def _key(job: Job, info: MovieInfo) -> _Key:
    return str(job.target), info.bytes, info.mtime_ns
