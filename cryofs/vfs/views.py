"""Views: ways of showing the archive, each below a name at the root of the mount that is found but not listed."""

import re
from dataclasses import dataclass, replace

from cryofs.movies.eer_rendering import Rendering

_RENDERED = re.compile(r"@up([124])_gr([1-9][0-9]{0,8})")
COUNTS = "@counts"
ARCHIVE = "@archive"


@dataclass(frozen=True)
class View:
    """A way of showing the archive.

    Attributes
    ----------
    name : str
        Its folder at the root of the mount, empty for the main view.
    rendering : Rendering
        How EER movies appear.
    counts : bool
        Whether gain-normalised movies appear as counts, with their gain references.
    archive : bool
        Whether the archive's own files appear, and nothing else.
    """

    name: str
    rendering: Rendering
    counts: bool = False
    archive: bool = False


def view_called(name: str, rendering: Rendering) -> View | None:
    """View of a name; `rendering` is that of the main view."""
    if name == COUNTS:
        return View(name, rendering, counts=True)
    if name == ARCHIVE:
        return View(name, rendering, archive=True)
    if match := _RENDERED.fullmatch(name):
        chosen = replace(rendering, upsampling=int(match[1]), grouping=int(match[2]), dose_per_fraction=None)
        return View(name, chosen)
    return None
