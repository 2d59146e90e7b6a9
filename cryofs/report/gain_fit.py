"""Check of the gain reference that came with TIFF movies, as the bars of a chart, one per orientation."""

from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import CryofsError
from cryofs.gain.gain_check import check_gain
from cryofs.kernels.orientation import UPRIGHT
from cryofs.movies.registry import identify

_FRAMES = 8


@dataclass(frozen=True)
class GainFit:
    """Result of a check of a gain reference.

    Attributes
    ----------
    movie : Path
        The movie with which the reference was checked.
    verdict : str
        Result as text that completes "The reference ...".
    bars : list of tuple
        Name, significance and relative height (0 to 1) of each orientation that the shapes allow.
    """

    movie: Path
    verdict: str
    bars: list[tuple[str, float, float]]


def fit_of(reference: Path, movie: Path, jobs: int) -> GainFit | None:
    """Check a gain reference with a few frames of a movie; return None if that is not possible.

    Movies that cryofs compressed with the reference need no check, because it restores their values exactly.
    """
    try:
        record = identify(movie).record
        if record is None or record.adopted is None:
            return None
        check = check_gain(reference, [movie], jobs, _FRAMES)
    except (CryofsError, OSError):
        return None
    tallest = max(abs(fit.significance) for fit in check.fits) or 1.0
    bars = [(fit.orientation.name, fit.significance, abs(fit.significance) / tallest) for fit in check.fits]
    if check.best is not None:
        name = check.best.orientation.name
        verdict = "fits as it is" if check.best.orientation == UPRIGHT else f"fits in another orientation: {name}"
    else:
        verdict = "does not seem to match the movie" if check.is_decided else "cannot be checked: too few counts"
    return GainFit(movie, verdict, bars)
