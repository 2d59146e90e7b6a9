"""Compare one source file or link with its counterpart in a mount, and remove it if requested."""

import contextlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cryofs.archive.pairs import Pair
from cryofs.archive.progress import as_cryofs_error
from cryofs.archive.remove_source import Guard, NotRemovedError, Remover
from cryofs.archive.same_bytes import file_difference, movie_difference
from cryofs.archive.settled import Settled
from cryofs.archive.shown import Shown, ShownKind, shown_in
from cryofs.errors import ChangedError, CryofsError
from cryofs.execution.executor import Report
from cryofs.movies import registry
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.packed import packed_stream
from cryofs.storage.coarse_times import is_same_time
from cryofs.storage.file_state import state_of

_SAFE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass
class Outcome:
    """Result of comparing a pair.

    Attributes
    ----------
    not_removed : str
        Reason why an equal source was not removed; empty if it was removed or removal was not requested.
    """

    pair: Pair
    equal: bool = False
    removed: bool = False
    differences: list[str] = field(default_factory=list)
    not_removed: str = ""
    error: CryofsError | None = None


class Comparer:
    """Comparison of single pairs; threads may share an instance.

    Parameters
    ----------
    settled : Settled or None
        Makes files of the archive durable before the comparison reads them; None to skip this step.
    remover : Remover or None
        Removes equal sources; None to keep all sources.
    """

    def __init__(
        self,
        source: Path,
        archive: Path,
        gains: GainLibrary,
        pool: Executor,
        settled: Settled | None = None,
        remover: Remover | None = None,
    ):
        self._source = source
        self._archive = archive
        self._gains = gains
        self._pool = pool
        self._settled = settled
        self._remover = remover

    def compare_file(self, pair: Pair, report: Report) -> Outcome:
        """Compare a file with its counterpart, remove an equal file if required, and return the outcome.

        `report` receives the number of compared bytes.
        """
        return self._compare(pair, pair.shown, report)

    def compare_link(self, pair: Pair, report: Report) -> Outcome:
        """Compare a link by its text, or by its target if the archive has a file or another link under the name.

        `cryofs compress` stores either a copy of the target under the name of the link, or a link to another name of
        the target.
        """
        try:
            outcome = self._compare_link(pair, report)
        except OSError as error:
            outcome = Outcome(pair, error=as_cryofs_error(error, pair.source))
        if self._remover is not None and not outcome.removed:
            self._remover.hold(pair.source)
        return outcome

    def _compare_link(self, pair: Pair, report: Report) -> Outcome:
        if pair.shown.kind is not ShownKind.LINK:
            return self._compare(pair, pair.shown, report)
        there = pair.shown.path.readlink()
        here = pair.source.readlink() if pair.source.is_symlink() else None
        if here is not None and there in (here, _unpacked_target(pair.name.name, here)):
            return self._remove_link(pair, Outcome(pair, equal=True))
        place = Path(os.path.normpath(pair.shown.path.parent / there))
        if not there.is_absolute() and place.is_relative_to(self._archive):
            # the file under the other name is compared as a separate pair
            twin = os.path.realpath(self._source / place.relative_to(self._archive))
            if os.path.realpath(pair.source) == twin and Path(twin).exists():
                return self._remove_link(pair, Outcome(pair, equal=True))
            stored = self._shown_at(place)
            if stored is not None and pair.source.is_file():
                return self._compare(pair, stored, report)
        what = "a file or folder" if here is None else f"a link to {here}"
        return Outcome(pair, differences=[f"expected a link to {there}, got {what}"])

    def _shown_at(self, place: Path) -> Shown | None:
        """Return the file that a mount shows at a path of the archive, or None."""
        if place == self._archive:
            return None
        try:
            found = shown_in(place.parent, self._archive).get(place.name)
        except OSError:
            return None
        return found if found is not None and found.kind in (ShownKind.FILE, ShownKind.MOVIE) else None

    def _compare(self, pair: Pair, stored: Shown, report: Report) -> Outcome:
        """Compare a source, or the target of a link, with a stored file; remove an equal source if required."""
        outcome = Outcome(pair)
        progress = _Progress(report)
        try:
            with self._opened(pair, stored) as guard:
                progress.total = guard.before.st_size
                outcome.differences = self._differences(guard, progress)
                if not outcome.differences:
                    guard.check_unchanged()
                    outcome.equal = True
                    self._remove(pair, guard, outcome)
        except NotRemovedError as error:
            outcome.not_removed = str(error)
        except (CryofsError, OSError) as error:
            outcome.error = as_cryofs_error(error, pair.source)
        finally:
            progress.finish()
        return outcome

    @contextlib.contextmanager
    def _opened(self, pair: Pair, stored: Shown) -> Iterator[Guard]:
        if stored.error is not None:
            raise stored.error
        follows = stat.S_ISLNK(pair.state.st_mode) or pair.behind_link
        with (
            _open(pair.source, _SAFE if follows else _SAFE | os.O_NOFOLLOW) as source,
            _open(stored.path, _SAFE | os.O_NOFOLLOW) as there,
        ):
            if state_of(os.fstat(there)) != state_of(stored.found):
                raise ChangedError(f"{stored.path}: changed or replaced since the run began; rerun cryofs compare")
            guard = Guard(pair, source, stored, there)
            if self._remover is None or self._settled is None:
                yield guard
                return
            if not follows:
                self._remover.prepare(guard)
            self._settled.beside(stored.path.parent)
            self._settled.file(there, stored.path)
            with guard:
                yield guard

    def _differences(self, guard: Guard, progress: "_Progress") -> list[str]:
        def on_bytes(count: int) -> None:
            guard.check_lease()
            progress.advance(count)

        here, stored = guard.before, guard.stored
        if stored.kind is not ShownKind.MOVIE:
            found = stored.found
            reasons = attribute_differences(here, found.st_mode, found.st_mtime_ns, found.st_size, self._archive)
            if here.st_size == found.st_size:
                reasons += _at(file_difference(guard.source_bytes, guard.stored_bytes, on_bytes))
            return reasons
        with ArchivedMovie(stored.path, self._gains, self._pool, source=guard.stored_bytes) as movie:
            original, size = movie.record.original, movie.layout.total_bytes
            if registry.unpackable_name(guard.pair.name.name) is not None:
                # the packed file that compress unpacked; the progress counts its own bytes
                reasons = attribute_differences(here, original.mode, original.mtime_ns)
                packed = packed_stream(guard.source_bytes, guard.pair.name.name, self._pool)
                return reasons + _at(movie_difference(packed, movie, lambda _: guard.check_lease()))
            reasons = attribute_differences(here, original.mode, original.mtime_ns, size)
            if here.st_size == size:
                reasons += _at(movie_difference(guard.source_bytes, movie, on_bytes))
            return reasons

    def _remove(self, pair: Pair, guard: Guard, outcome: Outcome) -> None:
        if self._remover is None:
            return
        if stat.S_ISLNK(pair.state.st_mode):
            self._remove_link(pair, outcome)
        elif pair.behind_link:
            pass  # the link is reported as not removed
        else:
            self._remover.remove_file(guard)
            outcome.removed = True

    def _remove_link(self, pair: Pair, outcome: Outcome) -> Outcome:
        if self._remover is None or pair.behind_link:
            return outcome
        try:
            self._remover.remove_link(pair.source, pair.state)
            outcome.removed = True
        except NotRemovedError as error:
            outcome.not_removed = str(error)
        except OSError as error:
            outcome.error = as_cryofs_error(error, pair.source)
        return outcome


def _unpacked_target(name: str, target: Path) -> Path | None:
    """Return the target of a link to the movie that compress unpacks, for the link of this name to a packed file."""
    movie = registry.unpackable_name(target.name) if registry.unpackable_name(name) else None
    return target.with_name(movie) if movie else None


class _Progress:
    """Progress of one file; `finish` reports the remaining bytes, so that the total equals the file size."""

    def __init__(self, report: Report):
        self._report = report
        self._done = 0
        self.total = 0

    def advance(self, count: int) -> None:
        self._done += count
        self._report(count)

    def finish(self) -> None:
        self._report(max(self.total - self._done, 0))


def attribute_differences(
    here: os.stat_result, mode: int, mtime_ns: int, size: int | None = None, archive: Path | None = None
) -> list[str]:
    """Return the differences in mode, modification time and, if given, size.

    Parameters
    ----------
    archive : Path, optional
        Set if the time is that of a file of this archive, whose storage may have rounded it.
    """
    reasons = []
    if size is not None and here.st_size != size:
        reasons.append(f"size: expected {size} bytes, got {here.st_size}")
    if stat.S_IMODE(here.st_mode) != stat.S_IMODE(mode):
        reasons.append(f"mode: expected {stat.S_IMODE(mode):04o}, got {stat.S_IMODE(here.st_mode):04o}")
    is_same = here.st_mtime_ns == mtime_ns if archive is None else is_same_time(mtime_ns, here.st_mtime_ns, archive)
    if not is_same:
        reasons.append(f"modification time: expected {_time(mtime_ns)}, got {_time(here.st_mtime_ns)}")
    return reasons


def _time(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns')} UTC"


def _at(offset: int | None) -> list[str]:
    return [] if offset is None else [f"first difference at byte {offset}"]


@contextlib.contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    """Yield the descriptor of a regular file and close it afterwards; raise ChangedError for other file types."""
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ChangedError(f"{path}: replaced (expected a regular file); rerun cryofs compare")
        yield descriptor
    finally:
        os.close(descriptor)
