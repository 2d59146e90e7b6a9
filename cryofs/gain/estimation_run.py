"""Run `cryofs estimate-gain`: report statistics for each frame, and write a reference for each gain of the movies.

Each movie is added to the estimate that it matches. A movie without a match has another gain and starts a new estimate.
The state of an estimate is saved after each movie that adds frames.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import ArchiveError, CryofsError, GainError
from cryofs.gain.estimation import MIN_FRAMES_TO_JUDGE, Ending, Estimation, FrameRow, Limits
from cryofs.gain.estimation_state import load_all, save, state_path
from cryofs.gain.gain_files import current_reference, files_of, write_list, write_reference
from cryofs.gain.samples import take_samples
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.mrc import MrcMovie
from cryofs.storage import changes
from cryofs.storage.atomic_file import remove_stale_drafts
from cryofs.storage.folders import make_folders

# Interval in seconds at which preliminary references are written, in case the run is killed.
_WRITE_SECONDS = 60.0


@dataclass(frozen=True)
class Estimated:
    """Result of a run for one gain.

    Attributes
    ----------
    reference : Path
        The gain reference.
    files : list of Path
        All files written for this gain, the reference first.
    movie_list : Path or None
        List of the movies with this gain; None if all movies have the same gain.
    ending : Ending
        Reason why the estimate stopped.
    new_frames : int
        Number of frames that this run added.
    movies : list of str
        Movies with this gain, including those that were only sampled.
    """

    reference: Path
    files: list[Path]
    movie_list: Path | None
    ending: Ending
    new_frames: int
    frames: int
    movies: list[str]
    movies_used: int
    pixels: int
    without_gain: int
    unreliable: int


class EstimationRun:
    """Gain estimation with results in a folder; it continues an earlier run in the same folder.

    Attributes
    ----------
    results : list of Estimated
        Result for each gain, complete when `rows` is exhausted.

    Raises
    ------
    GainError
        A saved state in the folder is unreadable.
    """

    def __init__(
        self,
        folder: Path,
        thresh: int,
        limits: Limits,
        pool: Executor,
        on_error: Callable[[Exception], None],
        on_sampling: Callable[[], None] = lambda: None,
    ):
        make_folders(folder)
        remove_stale_drafts(folder)
        self._folder = folder
        self._thresh = thresh
        self._limits = limits
        self._pool = pool
        self._on_error = on_error
        # called once, before the first movie is sampled
        self._on_sampling = on_sampling
        self._sampling = False
        self._estimations = load_all(folder)
        for estimation in self._estimations:
            estimation.set_thresh(thresh)
        self._frames_before = {one.number: one.frames_used for one in self._estimations}
        # numbers of the estimates with new frames, and with other changes, since their state was saved
        self._grown: set[int] = set()
        self._unsaved: set[int] = set()
        # movies with few frames that match no estimate yet
        self._deferred: list[Path] = []
        self._written = time.monotonic()
        self.results: list[Estimated] = []

    def rows(self, paths: Iterable[Path]) -> Iterator[FrameRow]:
        """Add movies in order, and yield statistics for each frame; write the references at the end or after an error.

        Raises
        ------
        GainError
            No movie is gain-normalised.
        """
        try:
            yield from self._add_all(paths, last=False)
            yield from self._add_all(self._deferred, last=True)
        finally:
            self._finish()
        if not self.results and not self._limits.stop():
            raise GainError(
                f"{self._folder}: no gain-normalised movie in the sources (expected float32 MRC); pass other sources"
            )

    def _add_all(self, paths: Iterable[Path], *, last: bool) -> Iterator[FrameRow]:
        for path in paths:
            if self._limits.stop():
                return
            try:
                with MrcMovie(path.absolute()) as movie:
                    yield from self._add(movie, last=last)
            except CryofsError as error:
                self._on_error(error)
            except OSError as error:
                self._on_error(ArchiveError(f"{path}: read error ({error.strerror}); check permissions and disk"))
            self._save_progress()

    def _add(self, movie: MrcMovie, *, last: bool) -> Iterator[FrameRow]:
        """Add a movie to the estimate that it matches, or to a new estimate, and yield statistics for each frame.

        Raises
        ------
        GainError
            The movie cannot be added to any estimate.
        """
        estimation = self._owner(movie)
        if estimation is None:
            if movie.shape[0] < MIN_FRAMES_TO_JUDGE and not last:
                self._deferred.append(movie.path)
                return
            if movie.shape[0] < MIN_FRAMES_TO_JUDGE and self._estimations:
                raise GainError(
                    f"{movie.name}: too few frames for an estimate of another gain (expected {MIN_FRAMES_TO_JUDGE}, "
                    f"got {movie.shape[0]}); remove the movie from the sources"
                )
            numbers = {one.number for one in self._estimations}
            number = next(free for free in range(1, len(numbers) + 2) if free not in numbers)
            estimation = Estimation.for_movie(movie, self._thresh, number=number)
            self._estimations.append(estimation)
        if estimation.stamps.get(movie.name) != movie.state:
            self._unsaved.add(estimation.number)
        for row in estimation.add_movie(movie, self._pool, self._limits):
            self._grown.add(estimation.number)
            yield row
        if estimation.ending(self._limits) is Ending.NO_COMMON_GAIN:
            self._drop(estimation)
            raise GainError(
                f"{movie.name}: values without a common gain; remove the movie from the sources, or use cryofs "
                "compress --gain auto, which allows values that were rounded twice"
            )

    def _owner(self, movie: MrcMovie) -> Estimation | None:
        """Return the estimate that a movie matches, or None if it matches no estimate."""
        for estimation in self._estimations:
            if estimation.stamps.get(movie.name) == movie.state:
                return estimation
        for estimation in self._estimations[:1]:
            estimation.check_frames(movie)
        if not self._sampling and any(one.ending(self._limits) for one in self._estimations):
            self._sampling = True
            self._on_sampling()
        samples = take_samples(movie) if self._estimations else []
        matching = next((one for one in self._estimations if one.fits(samples)), None)
        for estimation in self._estimations:
            if estimation is not matching and movie.name in estimation.frames_done:
                estimation.remove_movie(movie.name)
                self._unsaved.add(estimation.number)
        return matching

    def _drop(self, estimation: Estimation) -> None:
        self._estimations.remove(estimation)
        self._mark_saved(estimation)
        changes.disk.remove(state_path(self._folder, estimation.number), missing_ok=True)

    def _save_progress(self) -> None:
        """Save estimates with new frames, and write preliminary references at intervals."""
        for estimation in [one for one in self._estimations if one.number in self._grown]:
            save(estimation, self._folder)
            self._mark_saved(estimation)
            if time.monotonic() - self._written > _WRITE_SECONDS:
                write_reference(estimation, self._folder, GainReference(estimation.estimate.reference()))
                self._written = time.monotonic()

    def _mark_saved(self, estimation: Estimation) -> None:
        self._grown.discard(estimation.number)
        self._unsaved.discard(estimation.number)

    def _finish(self) -> None:
        """Save all states, write all references and lists, and set the results."""
        used = [estimation for estimation in self._estimations if estimation.frames_used]
        # states come first, in case writing a reference fails
        for estimation in [one for one in used if one.number in self._grown | self._unsaved]:
            save(estimation, self._folder)
            self._mark_saved(estimation)
        for estimation in used:
            reference = current_reference(estimation, self._folder)
            if reference is None:
                reference = write_reference(estimation, self._folder, estimation.reference(self._pool))
            listed = write_list(estimation, reference) if len(used) > 1 else None
            self.results.append(self._result(estimation, reference, listed))

    def _result(self, estimation: Estimation, reference: Path, listed: Path | None) -> Estimated:
        files = files_of(reference) + ([listed] if listed else [])
        return Estimated(
            reference=reference,
            files=[*files, state_path(self._folder, estimation.number)],
            movie_list=listed,
            ending=estimation.ending(self._limits) or Ending.READ,
            new_frames=estimation.frames_used - self._frames_before.get(estimation.number, 0),
            frames=estimation.frames_used,
            movies=sorted(estimation.frames_done),
            movies_used=len(estimation.movies_used),
            pixels=estimation.pixels,
            without_gain=estimation.pixels_without_gain,
            unreliable=estimation.pixels - estimation.reliable,
        )
