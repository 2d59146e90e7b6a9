"""Views: alternative presentations of the archive, each in an unlisted folder at the root of the mount.

A view is added by its row in `VIEWS`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cryofs.config.choices import CROPPED_DTYPES
from cryofs.movies.provider import NORMALISED, ShowOptions


@dataclass(frozen=True)
class View:
    """A presentation of the archive.

    Attributes
    ----------
    name : str
        Its folder at the root of the mount, empty for the main view.
    options : ShowOptions
        Options of the view for the kinds of movies.
    stored_files : bool
        Whether the archive's own files appear, and nothing else.
    references : bool
        Whether gain references of the archive appear wherever movies do.
    hides_references : bool
        Whether gain references of the archive appear nowhere, because movies are multiplied with them.
    """

    name: str
    options: ShowOptions
    stored_files: bool = False
    references: bool = False
    hides_references: bool = False


@dataclass(frozen=True)
class ViewRow:
    """A row of the table of views: a pattern of names, and the options of these views.

    Attributes
    ----------
    pattern : str
        Regular expression of the whole name, which begins with ``@``.
    options : callable
        Returns the options for the kinds, from the match and the options of the main view.
    stored_files, references, hides_references : bool
        As those of a `View`.
    """

    pattern: str
    options: Callable[[re.Match[str], ShowOptions], ShowOptions] = lambda _, main: main
    stored_files: bool = False
    references: bool = False
    hides_references: bool = False


def _counts(_: re.Match[str], main: ShowOptions) -> ShowOptions:
    return replace(main, enabled=main.enabled | {"counts"})


def _normalised(_: re.Match[str], main: ShowOptions) -> ShowOptions:
    return replace(main, enabled=main.enabled | {NORMALISED})


def _rendered(match: re.Match[str], main: ShowOptions) -> ShowOptions:
    return _with_rendering(main, upsampling=int(match["up"]), grouping=int(match["grouping"]), crop=None)


def _cropped(match: re.Match[str], main: ShowOptions) -> ShowOptions:
    dtype = main.rendering.dtype
    return _with_rendering(
        main,
        upsampling=int(match["up"]),
        grouping=int(match["grouping"]),
        crop=int(match["crop"]),
        dtype=dtype if dtype in CROPPED_DTYPES else None,
    )


def _with_rendering(main: ShowOptions, **changes: Any) -> ShowOptions:
    return replace(main, rendering=replace(main.rendering, dose_per_fraction=None, **changes))


_GROUPING = "gr(?P<grouping>[1-9][0-9]{0,8})"

VIEWS: tuple[ViewRow, ...] = (
    ViewRow("@counts", _counts, references=True),
    ViewRow("@normalised", _normalised, hides_references=True),
    ViewRow("@archive", stored_files=True),
    ViewRow(f"@up(?P<up>[124])_{_GROUPING}", _rendered),
    # cropping makes the grid coarser
    ViewRow(f"@up(?P<up>2)crop(?P<crop>1)_{_GROUPING}", _cropped),
    ViewRow(f"@up(?P<up>4)crop(?P<crop>[12])_{_GROUPING}", _cropped),
)


def view_called(name: str, main: ShowOptions) -> View | None:
    """Return the view of a name, or None; `main` are the options of the main view."""
    if name.startswith("@"):
        for row in VIEWS:
            if match := re.fullmatch(row.pattern, name):
                options = row.options(match, main)
                return View(name, options, row.stored_files, row.references, row.hides_references)
    return None
