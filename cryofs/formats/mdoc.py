"""Metadata files of SerialEM (`.mdoc`): the names of movies in them."""

import re
from pathlib import PureWindowsPath

_MOVIE = re.compile(r"^\s*SubFramePath\s*=\s*(\S.*?)\s*$", re.MULTILINE)
_SUFFIX = ".mdoc"


def movie_names(text: str, name: str) -> list[str]:
    """Return the names of movies in the sections; if there are none, the name of the file without .mdoc."""
    found = _MOVIE.findall(text)
    return list(dict.fromkeys(found)) or [name[: -len(_SUFFIX)]]


def possible_names(name: str) -> list[str]:
    """Return the possible names of a movie after its transfer from the computer of the camera.

    The most specific name comes first: D:/grid/frames/x.tif -> grid/frames/x.tif, frames/x.tif, x.tif. An absolute path
    of Linux is also returned unchanged.
    """
    path = PureWindowsPath(name)
    parts = path.relative_to(path.anchor).parts
    shorter = ["/".join(parts[first:]) for first in range(len(parts))]
    return [name, *shorter] if name.startswith("/") else shorter
