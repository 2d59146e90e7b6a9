"""Metadata files of SerialEM (`.mdoc`), as far as they name movies."""

import re
from pathlib import PureWindowsPath

_MOVIE = re.compile(r"^\s*SubFramePath\s*=\s*(\S.*?)\s*$", re.MULTILINE)
_SUFFIX = ".mdoc"


def movie_names(text: str, name: str) -> list[str]:
    """Return the movies that the sections name, or else the one that the file is named after: x.tif.mdoc -> x.tif."""
    found = _MOVIE.findall(text)
    return list(dict.fromkeys(found)) or [name[: -len(_SUFFIX)]]


def possible_names(name: str) -> list[str]:
    """Return the names that a movie may have after its transfer from the computer of the camera.

    The most specific name is first: D:/grid/frames/x.tif -> grid/frames/x.tif, frames/x.tif, x.tif. An absolute path
    of Linux is also returned as it is.
    """
    path = PureWindowsPath(name)
    parts = path.relative_to(path.anchor).parts
    shorter = ["/".join(parts[first:]) for first in range(len(parts))]
    return [name, *shorter] if name.startswith("/") else shorter
