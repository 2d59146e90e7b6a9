"""cryofs: lossless compression of cryo-EM movies, and a mount that presents the original MRC files to every tool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofs.version import VERSION

if TYPE_CHECKING:
    from cryofs.movies.movie import Movie

__all__ = ["__version__", "open"]

__version__ = VERSION


def open(path: str | os.PathLike[str], *, normalised: bool = False, **eer_options: Any) -> Movie:  # noqa: A001 - reads as cryofs.open
    """Open a movie as an MRC file: archived (`X.mrc.tif`), plain (`X.mrc`), EER, or a TIFF movie of another program.

    Parameters
    ----------
    normalised : bool
        Whether to multiply a TIFF movie of another program with the gain reference that `cryofs adopt` recorded, or
        else with the nearest `gain-reference.mrc` in its folder or above, as float32. It does not affect other movies.
    **eer_options
        How to render an EER movie: any setting of `cryofs.toml` whose name begins with ``eer_``, such as
        ``eer_grouping=24`` or ``eer_upsampling=2``, with the same defaults. Other movies ignore these options.

    Returns
    -------
    Movie
        A context manager with ``header`` (bytes), ``shape`` (frames, ny, nx), ``dtype``, ``frame(k)`` and
        ``frames()``.

    Raises
    ------
    FormatError
        The file is not a movie.
    DamagedError
        The file is an archived movie with a damaged record.
    GainError
        With `normalised`: there is no gain reference, or its size does not match.
    UsageError
        An option is unknown, or its value is invalid.
    """
    # imported here so that commands which do not read movies start without NumPy and numba
    from cryofs.config.settings import eer_settings
    from cryofs.movies.eer_rendering import rendering_of
    from cryofs.movies.registry import open_movie

    return open_movie(Path(path), rendering=rendering_of(eer_settings(eer_options)), normalised=normalised)
