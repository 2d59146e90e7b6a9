"""Check whether a gain reference belongs to movies, and in which orientation, by the mean of the counts."""

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
from cryofs.kernels.orientation import UPRIGHT, Orientation
from cryofs.movies import gain_kinds
from cryofs.movies.eer_gain_use import convention_of, read_tiff
from cryofs.movies.movie import Movie
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_movie

# Frames that decide it even at a low dose; more of them take time.
MAX_FRAMES = 60
# Frames of one movie that decide it at the usual doses, for a warning.
_WARNING_FRAMES = 8
# Share of the values that are whole numbers in a movie of counts, which may have been interpolated at defects.
_WHOLE_SHARE = 0.99


@dataclass(frozen=True)
class GainCheck:
    """Result of a check.

    Attributes
    ----------
    movies, frames : int
        Numbers of movies and of frames that were used.
    fits : list of Fit
        Fits of all possible orientations, with the most significant first.
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
        """True if there are enough counts to decide whether the reference belongs to the movies."""
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
        Movies of any kind with equal frame sizes; a gain-normalised movie must be archived with counts.
    max_frames : int
        Number of frames to use from the start of the movies.
    convention : str or None
        Convention of a reference of EER movies; None for the convention that the file name implies.

    Raises
    ------
    GainError
        The reference cannot be read, or does not have the frame size in any orientation, or a movie has no counts.
    FormatError, DamagedError
        A movie cannot be read, or the frame size differs from that of the first movie.
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
    """Return a warning if a gain reference is turned or does not belong to a movie, otherwise None.

    The check uses only a few frames. Return None also if these are not sufficient, or if a file cannot be read, which
    other messages report.

    Parameters
    ----------
    used : Orientation
        Orientation in which the reference is used.
    convention : str or None
        Convention in which a reference of EER movies is used.
    """
    try:
        check = check_gain(gain, [movie], jobs, _WARNING_FRAMES, convention)
    except (CryofsError, OSError):
        return None
    command = f"cryofs check-gain {gain} {movie}"
    if check.best is None and not check.is_decided:
        return None
    if check.best is None:
        return f"{gain}: gain reference does not seem to belong to {movie}; check more frames with {command}"
    if check.best.orientation != used:
        option = f"--gain-orientation {check.best.orientation.name}"
        fix = f"use {option}, or see the options of other programs with {command}"
        return f"{gain}: orientation of the gain reference differs from {movie}; {fix}"
    if convention is not None and check.best.is_divisor != (convention == "divide"):
        right = "divide" if check.best.is_divisor else "multiply"
        return f"{gain}: counts of {movie} contradict the convention; use --eer-gain-convention {right}"
    return None


def read_gain(path: Path, convention: EerGainConvention | None = None) -> NDArray[Any]:
    """Return the values of a gain reference in the row order of an MRC file, from a file of any supported kind.

    As in other programs, the rows of a TIFF file are reversed, unless EER movies are multiplied with the values.

    Parameters
    ----------
    convention : str or None
        Convention of a reference of EER movies; None for the convention that the file name implies.

    Raises
    ------
    GainError
        The file cannot be read, or is not a gain reference.
    """
    try:
        kind = gain_kinds.kind_of(path)
        if kind is not None and kind.is_tiff:
            return read_tiff(path, convention_of(path, convention))
        gain_kinds.check_eer(path)
        # references of cryofs hold a second frame of digits in the extended header
        with MrcMovie(path, max_extended_header=1 << 30) as movie:
            if movie.shape[0] != 1:
                raise GainError(f"{path}: not a gain reference (expected 1 frame, got {movie.shape[0]})")
            return movie.frame(0)
    except FormatError as error:
        raise GainError(f"{path}: not a gain reference ({error}); pass an MRC or TIFF file of one image") from error
    except OSError as error:
        raise GainError(f"{path}: gain reference not readable ({error.strerror}); pass another file") from error


def _sum_of_counts(movies: Sequence[Path], frames: int, jobs: int) -> tuple[NDArray[np.float32], int]:
    """Return the sum of the counts of the first frames of each movie, and the number of frames."""
    total: NDArray[np.float32] | None = None
    used = 0
    with ThreadPoolExecutor(jobs) as pool:
        for path in movies:
            with open_movie(path, pool=pool) as movie:
                if total is None:
                    total = np.zeros(movie.shape[1:], np.float32)
                if total.shape != movie.shape[1:]:
                    size, expected = (f"{ny} x {nx}" for ny, nx in (movie.shape[1:], total.shape))
                    raise FormatError(f"{path}: frames of another size (expected {expected}, got {size})")
                for index in range(min(frames, movie.shape[0])):
                    total += _counts(movie, index)
                    used += 1
    assert total is not None
    return total, used


def _counts(movie: Movie, index: int) -> NDArray[Any]:
    """Return the counts of a frame; raise GainError if the movie has only gain-normalised values."""
    counts = movie.histogram_frame(index)
    if counts.dtype.kind == "f" and np.mean(counts == np.rint(counts)) < _WHOLE_SHARE:
        raise GainError(
            f"{movie.name}: gain-normalised values, not counts; pass its archived movie, or the movie in @counts of a "
            "mount"
        )
    return counts
