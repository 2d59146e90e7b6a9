"""cryofs: lossless compression of cryo-EM movies, and a mount that presents the original MRC files to every tool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryofs.version import VERSION

if TYPE_CHECKING:
    from cryofs.movies.movie import Movie

__all__ = ["__version__", "open"]

__version__ = VERSION


def open(path: str | os.PathLike[str]) -> Movie:  # noqa: A001 - reads as cryofs.open
    """Open a movie as an MRC file: archived (`X.mrc.tif`), plain (`X.mrc`), EER, or a TIFF movie of another program.

    An EER movie has fractions of 40 frames, the default of a mount; `cryofs.movies.eer.EerMovie` takes other options.

    Returns
    -------
    Movie
        A context manager with ``header`` (bytes), ``shape`` (frames, ny, nx), ``dtype``, ``frame(k)`` and
        ``frames()``.

    Raises
    ------
    FormatError
        Not a movie.
    DamagedError
        An archived movie with a damaged record.
    """
    # imported here so that commands which do not read movies start without NumPy and numba
    from cryofs.movies.registry import open_movie

    return open_movie(Path(path))
