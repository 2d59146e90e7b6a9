"""A run of `cryofs estimate-gain`: movies in, a row a frame, and for each gain among them a reference.

A movie goes into the estimate that it fits. One that fits none has another gain, and an estimate of its own is begun.
The state of an estimate is saved after each movie that it took frames of.
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

# How often references are written before the end, for the case of a kill.
_WRITE_SECONDS = 60.0


@dataclass(frozen=True)
class Estimated:
    """What a run knows of one gain at its end.

    Attributes
    ----------
    reference : Path
        The gain reference.
    files : list of Path
        All files of this gain, the reference first.
    movie_list : Path or None
        The list of the movies with this gain, where there are several gains.
    ending : Ending
        Why no further frames were taken.
    new_frames : int
        Frames that this run took.
    movies : list of str
        Movies with this gain, those that were only sampled included.
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
    """Estimates the gain of movies, from where a run into the same folder ended.

    Attributes
    ----------
    results : list of Estimated
        What is known of each gain, once `rows` has ended.

    Raises
    ------
    GainError
        A state in the folder is not readable.
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
        # called once, before the first movie that is only sampled
        self._on_sampling = on_sampling
        self._sampling = False
        self._estimations = load_all(folder)
        for estimation in self._estimations:
            estimation.set_thresh(thresh)
        self._frames_before = {one.number: one.frames_used for one in self._estimations}
        # estimates that took frames, or only noted movies, since their state was saved
        self._grown: set[int] = set()
        self._unsaved: set[int] = set()
        # movies of few frames that fit no estimate so far
        self._deferred: list[Path] = []
        self._written = time.monotonic()
        self.results: list[Estimated] = []

    def rows(self, paths: Iterable[Path]) -> Iterator[FrameRow]:
        """Take in movies, in their order, and write the references at the end, however it comes.

        Raises
        ------
        GainError
            No movie could be used.
        """
        try:
            yield from self._take_all(paths, last=False)
            yield from self._take_all(self._deferred, last=True)
        finally:
            self._finish()
        if not self.results and not self._limits.stop():
            raise GainError(
                f"{self._folder}: no gain-normalised movie among the sources; float32 MRC movies are needed"
            )

    def _take_all(self, paths: Iterable[Path], *, last: bool) -> Iterator[FrameRow]:
        for path in paths:
            if self._limits.stop():
                return
            try:
                with MrcMovie(path.absolute()) as movie:
                    yield from self._take(movie, last=last)
            except CryofsError as error:
                self._on_error(error)
            except OSError as error:
                self._on_error(
                    ArchiveError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk")
                )
            self._save_progress()

    def _take(self, movie: MrcMovie, *, last: bool) -> Iterator[FrameRow]:
        """Take in the frames of a movie that its estimate still wants."""
        estimation = self._owner(movie)
        if estimation is None:
            if movie.shape[0] < MIN_FRAMES_TO_JUDGE and not last:
                self._deferred.append(movie.path)
                return
            if movie.shape[0] < MIN_FRAMES_TO_JUDGE and self._estimations:
                raise GainError(
                    f"{movie.name}: fits no gain of the other movies, and {movie.shape[0]} frames are too few for an "
                    "estimate of its own; leave it out"
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
        if estimation.ending(self._limits) is Ending.HOPELESS:
            self._drop(estimation)
            raise GainError(
                f"{movie.name}: its values have no common gain; leave it out, or use cryofs compress --gain auto, "
                "which allows for values that were rounded twice"
            )

    def _owner(self, movie: MrcMovie) -> Estimation | None:
        """Return the estimate that a movie belongs to, or None if it shows another gain."""
        for estimation in self._estimations:
            if estimation.stamps.get(movie.name) == movie.state:
                return estimation
        for estimation in self._estimations[:1]:
            estimation.check_frames(movie)
        if not self._sampling and any(one.ending(self._limits) for one in self._estimations):
            self._sampling = True
            self._on_sampling()
        samples = take_samples(movie) if self._estimations else []
        fitting = next((one for one in self._estimations if one.fits(samples)), None)
        for estimation in self._estimations:
            if estimation is not fitting and movie.name in estimation.frames_done:
                estimation.forget(movie.name)
                self._unsaved.add(estimation.number)
        return fitting

    def _drop(self, estimation: Estimation) -> None:
        self._estimations.remove(estimation)
        self._saved(estimation)
        changes.disk.remove(state_path(self._folder, estimation.number), missing_ok=True)

    def _save_progress(self) -> None:
        """Save estimates that took frames, and now and then write what their references are so far."""
        for estimation in [one for one in self._estimations if one.number in self._grown]:
            save(estimation, self._folder)
            self._saved(estimation)
            if time.monotonic() - self._written > _WRITE_SECONDS:
                write_reference(estimation, self._folder, GainReference(estimation.estimate.reference()))
                self._written = time.monotonic()

    def _saved(self, estimation: Estimation) -> None:
        self._grown.discard(estimation.number)
        self._unsaved.discard(estimation.number)

    def _finish(self) -> None:
        """Save states, write references and lists."""
        used = [estimation for estimation in self._estimations if estimation.frames_used]
        # whatever comes of the references, the states are kept
        for estimation in [one for one in used if one.number in self._grown | self._unsaved]:
            save(estimation, self._folder)
            self._saved(estimation)
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
