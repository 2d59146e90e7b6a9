"""How well the gain reference that came with TIFF movies fits one of them in each orientation, as bars."""

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
        The movie that was used.
    verdict : str
        Whether the reference fits as it is.
    bars : list of tuple
        Name, significance and height (0 to 1) of each orientation that is possible.
    """

    movie: Path
    verdict: str
    bars: list[tuple[str, float, float]]


def fit_of(reference: Path, movie: Path, jobs: int) -> GainFit | None:
    """Check a gain reference with a few frames of a movie; return None if that cannot be done.

    Movies that cryofs divided by the reference need no check: it restores their values.
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
        verdict = "fits as it is" if check.best.orientation == UPRIGHT else f"is turned: it fits as {name}"
    else:
        verdict = "does not seem to belong to it" if check.is_decided else "cannot be judged: too few counts"
    return GainFit(movie, verdict, bars)
