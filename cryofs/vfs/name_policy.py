"""Names that programs may not give to files and folders of a writable mount, because they mean something to cryofs."""

import os
from collections.abc import Callable
from pathlib import Path

from cryofs.formats.archive_names import GAIN_REFERENCE, SUFFIX, is_movie_name, is_own_name, is_reference_name
from cryofs.movies.provider import ShowOptions
from cryofs.system.paths import LONGEST_NAME
from cryofs.vfs.archive_root import Root
from cryofs.vfs.views import view_called

_OF_LIBFUSE = ".fuse_hidden"


def refusal(root: Root, place: Path, options: ShowOptions, needs_references: Callable[[Path], bool]) -> str | None:
    """Return why a new file, folder or link may not have this place, or None if it may.

    Parameters
    ----------
    options : ShowOptions
        Options of the main view.
    needs_references : callable
        Function that returns True if a folder has movies for which gain references are shown.
    """
    name = place.name
    if is_own_name(name):
        return "names that begin with .cryofs- belong to cryofs"
    if name.lower().endswith(SUFFIX) and is_movie_name(name[: -len(SUFFIX)]):
        return "this is the name of an archived movie"
    if is_movie_name(name) and len(os.fsencode(name)) + len(SUFFIX) > LONGEST_NAME:
        return f"too long for a movie (expected at most {LONGEST_NAME - len(SUFFIX)} bytes)"
    if is_reference_name(name) and name != GAIN_REFERENCE and not needs_references(place.parent):
        return "names of this form belong to the gain references of cryofs, except beside TIFF movies"
    if name.startswith(_OF_LIBFUSE):
        return "names that begin with .fuse_hidden belong to libfuse"
    if place.parent == root.path and view_called(name, options) is not None:
        return "this is the name of a view of the mount"
    return None
