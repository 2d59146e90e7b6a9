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
        Whether to multiply a TIFF movie of another program by the gain reference that `cryofs adopt` recorded, or
        otherwise by the nearest `gain-reference.mrc` in its folder or above; the values are float32. Other movies are
        not affected.
    **eer_options
        Rendering of an EER movie: any setting of `cryofs.toml` with a name that starts with ``eer_``, such as
        ``eer_grouping=24`` or ``eer_upsampling=2``, with the same defaults. Other movies ignore these options.

    Returns
    -------
    Movie
        The open movie, a context manager with ``header`` (bytes), ``shape`` (frames, ny, nx), ``dtype``, ``frame(k)``
        and ``frames()``.

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
    # imported late, so that commands that do not read movies start without NumPy and numba
    from cryofs.config.settings import eer_settings
    from cryofs.movies.eer_rendering import rendering_of
    from cryofs.movies.registry import open_movie

    return open_movie(Path(path), rendering=rendering_of(eer_settings(eer_options)), normalised=normalised)
