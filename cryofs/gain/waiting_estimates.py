"""Estimates of the gains of movies that wait in an archive, continued with each movie that arrives.

Each movie is added to the estimate that it matches, or begins another one. The state is kept in `.cryofs-gain` at the
root of the archive, with the names of movies relative to it. It is only a cache: if it is lost or damaged, the movies
are read again.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from cryofs.errors import CryofsError
from cryofs.gain.estimation import MIN_FRAMES_TO_JUDGE, Ending, Estimation, FrameRow
from cryofs.gain.estimation_state import load_all, save, state_path
from cryofs.gain.references import LIMITS, ROUNDED_TWICE
from cryofs.gain.samples import take_samples
from cryofs.movies.mrc import MrcMovie
from cryofs.storage import changes
from cryofs.storage.atomic_file import OWN_PREFIX, remove_stale_drafts
from cryofs.storage.folders import make_folders

_FOLDER = OWN_PREFIX + "gain"


class WaitingEstimates:
    """The estimates of an archive, one for each gain.

    Parameters
    ----------
    on_row : callable
        Called with the statistics of each added frame; may end the work by an exception.

    Attributes
    ----------
    estimates : list of Estimation
        All estimates, in the order of their numbers.
    """

    def __init__(self, archive: Path, pool: Executor, on_row: Callable[[FrameRow], None]):
        self._archive = archive
        self._folder = archive / _FOLDER
        self._pool = pool
        self._on_row = on_row
        # numbers of the estimates that changed since they were saved
        self._unsaved: set[int] = set()
        self.estimates = self._load()

    def _load(self) -> list[Estimation]:
        if not self._folder.is_dir():
            return []
        remove_stale_drafts(self._folder)
        try:
            return load_all(self._folder, self._archive)
        except (CryofsError, OSError):
            remove_estimates(self._archive)
            return []

    def of(self, name: str, state: tuple[int, int]) -> Estimation | None:
        """Return the estimate that a movie in this state (size, mtime_ns) was added to, or None."""
        return next((one for one in self.estimates if one.stamps.get(name) == state), None)

    def add(self, movie: MrcMovie) -> Estimation | None:
        """Add a movie of float32 values that is in no estimate, and return its estimate.

        Returns
        -------
        Estimation or None
            None if the movie matches no estimate and cannot begin one: it has too few frames, or its values have no
            common gain.
        """
        for estimation in self.estimates:
            # the file of this name was replaced
            estimation.remove_movie(movie.name)
        samples = take_samples(movie)
        same_size = [one for one in self.estimates if one.frame_shape == movie.shape[1:]]
        matching = next((one for one in same_size if one.fits(samples)), None)
        if matching is None:
            return self._begin(movie)
        self._extend(matching, movie)
        return matching

    def _begin(self, movie: MrcMovie) -> Estimation | None:
        if movie.shape[0] < MIN_FRAMES_TO_JUDGE:
            return None
        numbers = {one.number for one in self.estimates}
        number = next(free for free in range(1, len(numbers) + 2) if free not in numbers)
        for tolerance in (0.0, ROUNDED_TWICE):
            estimation = Estimation.for_movie(movie, tolerance=tolerance, number=number)
            self._extend(estimation, movie)
            if not estimation.lacks_common_gain(MIN_FRAMES_TO_JUDGE):
                self.estimates.append(estimation)
                return estimation
        return None

    def _extend(self, estimation: Estimation, movie: MrcMovie) -> None:
        self._unsaved.add(estimation.number)
        for row in estimation.add_movie(movie, self._pool, LIMITS):
            self._on_row(row)

    def is_settled(self, estimation: Estimation) -> bool:
        """Return True if further frames would not be used, because the gain no longer changes or there are too many."""
        return estimation.ending(LIMITS) in (Ending.STABLE, Ending.MAX_FRAMES)

    def drop(self, estimation: Estimation) -> None:
        """Remove an estimate that is no longer needed."""
        self.estimates.remove(estimation)
        self._unsaved.discard(estimation.number)
        changes.disk.remove(state_path(self._folder, estimation.number), missing_ok=True)

    def save(self) -> None:
        """Save the estimates that changed; remove the folder if there are none.

        Raises
        ------
        OSError
            The state cannot be saved, for example because the disk is full. Earlier states are unchanged.
        """
        if not self.estimates:
            remove_estimates(self._archive)
            return
        make_folders(self._archive, Path(_FOLDER))
        for estimation in self.estimates:
            if estimation.number in self._unsaved:
                save(estimation, self._folder, self._archive)
        self._unsaved.clear()


def remove_estimates(archive: Path) -> None:
    """Remove the saved estimates of an archive; files that cannot be removed stay, and only take space."""
    folder = archive / _FOLDER
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for path in folder.iterdir():
            changes.disk.remove(path, missing_ok=True)
        changes.disk.remove_folder(folder)
