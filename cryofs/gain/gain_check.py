"""Check with the mean of the counts whether a gain reference belongs to movies, and in which orientation."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.config.choices import EerGainConvention
from cryofs.errors import CryofsError, FormatError, GainError
from cryofs.gain.orientation_fit import Fit, best_fit, rank
from cryofs.gain.scaled import step_of
from cryofs.kernels.orientation import UPRIGHT, Orientation
from cryofs.movies import gain_kinds
from cryofs.movies.eer_gain_use import convention_of, read_tiff
from cryofs.movies.movie import Movie
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_movie

# Number of frames that suffice even at a low dose; more would only take time.
MAX_FRAMES = 60
# Number of frames of one movie that suffice at usual doses; used for warnings.
_WARNING_FRAMES = 8
# Minimum share of whole numbers in a movie of counts, whose defects may have interpolated values.
_WHOLE_SHARE = 0.99


@dataclass(frozen=True)
class GainCheck:
    """Result of a check of a gain reference.

    Attributes
    ----------
    movies, frames : int
        Numbers of used movies and frames.
    fits : list of Fit
        Fits of all possible orientations, the most significant first.
    """

    gain: Path
    movies: int
    frames: int
    fits: list[Fit]

    @property
    def best(self) -> Fit | None:
        """Fit of the correct orientation, or None if the reference does not belong to the movies."""
        return best_fit(self.fits)

    @property
    def is_decided(self) -> bool:
        """True if the counts suffice to decide whether the reference belongs to the movies."""
        return any(fit.is_decided for fit in self.fits)


def check_gain(
    gain: Path,
    movies: Sequence[Path],
    jobs: int,
    max_frames: int = MAX_FRAMES,
    convention: EerGainConvention | None = None,
) -> GainCheck:
    """Correlate the mean of the counts of movies with a gain reference in all orientations.

    Parameters
    ----------
    movies : sequence of Path
        Movies of any kind with equal frame sizes. A gain-normalised movie must be archived as counts.
    max_frames : int
        Number of frames to use from the start of the movies.
    convention : str or None
        Convention of a reference of EER movies; None for the convention that the file name implies.

    Raises
    ------
    GainError
        The reference is unreadable, or fits the frame size in no orientation, or a movie has no counts.
    FormatError, DamagedError
        A movie is unreadable, or its frame size differs from that of the first movie.
    """
    values = read_gain(gain, convention)
    total, frames = _sum_of_counts(movies, -(-max_frames // len(movies)), jobs)
    try:
        return GainCheck(gain, len(movies), frames, rank(total, values))
    except ValueError as error:
        raise GainError(f"{gain}: {error}; pass the gain reference of this detector") from error


def warn_of(
    gain: Path, movie: Path, jobs: int, used: Orientation = UPRIGHT, convention: EerGainConvention | None = None
) -> str | None:
    """Return a warning if a gain reference does not belong to a movie or has the wrong orientation, otherwise None.

    The check uses only a few frames. Return None also if these do not suffice, or if a file is unreadable, because
    other messages report such files.

    Parameters
    ----------
    used : Orientation
        Orientation that the caller applies to the reference.
    convention : str or None
        Convention that the caller applies to a reference of EER movies; None for a reference of other movies.
    """
    try:
        check = check_gain(gain, [movie], jobs, _WARNING_FRAMES, convention)
    except (CryofsError, OSError):
        return None
    command = f"cryofs check-gain {gain} {movie}"
    if check.best is None and not check.is_decided:
        return None
    if check.best is None:
        return f"{gain}: probably not the gain reference of {movie}; check more frames with {command}"
    if check.best.orientation != used:
        option = f"--gain-orientation {check.best.orientation.name}"
        fix = f"pass {option}, or run {command} for the options of other programs"
        return f"{gain}: the orientation of the gain reference differs from that of {movie}; {fix}"
    if convention is not None and check.best.is_divisor != (convention == "divide"):
        right = "divide" if check.best.is_divisor else "multiply"
        return f"{gain}: the counts of {movie} contradict the convention; pass --eer-gain-convention {right}"
    return None


def read_gain(path: Path, convention: EerGainConvention | None = None) -> NDArray[Any]:
    """Return the values of a gain reference, shape (ny, nx), in the row order of an MRC file.

    As in other programs, the rows of a TIFF file are reversed, unless EER movies are multiplied with its values.

    Parameters
    ----------
    convention : str or None
        Convention of a reference of EER movies; None for the convention that the file name implies.

    Raises
    ------
    GainError
        The file is unreadable or not a gain reference.
    """
    try:
        kind = gain_kinds.kind_of(path)
        if kind is not None and kind.is_tiff:
            return read_tiff(path, convention_of(path, convention))
        gain_kinds.check_eer(path)
        # a reference of cryofs may have a second frame, of digits, in its extended header
        with MrcMovie(path, max_extended_header=1 << 30) as movie:
            if movie.shape[0] != 1:
                raise GainError(f"{path}: not a gain reference (expected 1 frame, got {movie.shape[0]})")
            return movie.frame(0)
    except FormatError as error:
        raise GainError(f"{path}: not a gain reference ({error}); pass an MRC or TIFF file of one image") from error
    except OSError as error:
        raise GainError(f"{path}: cannot read the gain reference ({error.strerror}); pass another file") from error


def _sum_of_counts(movies: Sequence[Path], frames: int, jobs: int) -> tuple[NDArray[np.float32], int]:
    """Return the sum of the counts of the first frames of each movie, shape (ny, nx), and the number of frames."""
    total: NDArray[np.float32] | None = None
    used = 0
    with ThreadPoolExecutor(jobs) as pool:
        for path in movies:
            with open_movie(path, pool=pool) as movie:
                if total is None:
                    total = np.zeros(movie.shape[1:], np.float32)
                if total.shape != movie.shape[1:]:
                    size, expected = (f"{ny} x {nx}" for ny, nx in (movie.shape[1:], total.shape))
                    raise FormatError(f"{path}: frame size mismatch (expected {expected}, got {size})")
                for index in range(min(frames, movie.shape[0])):
                    total += _counts(movie, index)
                    used += 1
    assert total is not None
    return total, used


def _counts(movie: Movie, index: int) -> NDArray[Any]:
    """Return the counts of a frame, shape (ny, nx); raise GainError if the movie has only gain-normalised values."""
    counts = movie.histogram_frame(index)
    is_fractional = counts.dtype.kind == "f" and np.mean(counts == np.rint(counts)) < _WHOLE_SHARE
    if is_fractional or (isinstance(movie, MrcMovie) and step_of(movie) is not None):
        fix = "pass its archived movie, or the movie in @counts of a mount"
        raise GainError(f"{movie.name}: has gain-normalised values, not counts; {fix}")
    return counts
