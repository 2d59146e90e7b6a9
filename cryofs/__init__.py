"""cryofs: cryo-EM movies stored small, shown to every tool as the original MRC files."""

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
    """Open a movie, archived (`X.mrc.tif`), plain (`X.mrc`) or a TIFF of another program, as the MRC file it is or was.

    An EER file is opened as its fractions of 40 frames, as a mount shows it by default; `cryofs.movies.eer.EerMovie`
    takes other renderings.

    Returns
    -------
    Movie
        With ``header`` (bytes), ``shape`` (frames, ny, nx), ``dtype``, ``frame(k)`` and ``frames()``; a context
        manager.

    Raises
    ------
    FormatError
        The file is not a movie.
    DamagedError
        The file is an archived movie with a damaged record.
    """
    # not every command needs the numerical libraries
    from cryofs.movies.registry import open_movie

    return open_movie(Path(path))
