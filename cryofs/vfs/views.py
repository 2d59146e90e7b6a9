"""Views: alternative presentations of the archive, each in an unlisted folder at the root of the mount.

To add a view, add a row to `VIEWS`.
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
        Name of the view's folder at the root of the mount; empty for the main view.
    options : ShowOptions
        Options for the kinds of movies in the view.
    stored_files : bool
        Whether only the archive's own files appear.
    references : bool
        Whether gain references of the archive appear in all folders with movies.
    hides_references : bool
        Whether gain references of the archive are hidden, because the movies are already multiplied by them.
    """

    name: str
    options: ShowOptions
    stored_files: bool = False
    references: bool = False
    hides_references: bool = False


@dataclass(frozen=True)
class ViewRow:
    """A row of the table of views: a pattern of view names, and the options of the matching views.

    Attributes
    ----------
    pattern : str
        Regular expression that matches the whole name of a view, which begins with ``@``.
    options : callable
        Function of the match and the main view's options that returns the options for the kinds of movies.
    stored_files, references, hides_references : bool
        See `View`.
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
    # cropping reduces the number of pixels
    ViewRow(f"@up(?P<up>2)crop(?P<crop>1)_{_GROUPING}", _cropped),
    ViewRow(f"@up(?P<up>4)crop(?P<crop>[12])_{_GROUPING}", _cropped),
)


def view_called(name: str, main: ShowOptions) -> View | None:
    """Return the view with a name, or None; `main` are the options of the main view."""
    if name.startswith("@"):
        for row in VIEWS:
            if match := re.fullmatch(row.pattern, name):
                options = row.options(match, main)
                return View(name, options, row.stored_files, row.references, row.hides_references)
    return None
