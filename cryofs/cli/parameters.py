"""Parameters that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from cryofs.config.choices import EerUpsampling, GainOrientation
from cryofs.system.resources import usable_cores

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# the library checks access, with better messages
PATH = click.Path(path_type=Path, readable=False)
UPSAMPLING = click.Choice(get_args(EerUpsampling))


def jobs_option(help: str = "Number of threads.") -> Decorator:  # noqa: A002 - the word of click
    """Return the decorator for --jobs, by default all usable cores."""
    return click.option("--jobs", type=click.IntRange(1), default=usable_cores, show_default="all cores", help=help)


def json_option(help: str = "Print the result as JSON.") -> Decorator:  # noqa: A002
    """Return the decorator for --json, the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def files_argument(name: str, metavar: str, help: str) -> Decorator:  # noqa: A002
    """Return the decorator for one or more paths, a tuple."""
    return click.argument(name, type=PATH, nargs=-1, required=True, metavar=f"{metavar}...", help=help)


def break_lock_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --break-lock to a command."""
    text = "Ignore cryofs commands on other machines that hold the lock of the archive; use it only if they are over."
    return click.option("--break-lock", is_flag=True, help=text)(command)


def gain_orientation_option(files: str) -> Decorator:
    """Return the decorator for --gain-orientation; `files` names the options whose file is turned."""
    return click.option(
        "--gain-orientation",
        metavar="ORIENTATION",
        type=click.Choice(get_args(GainOrientation)),
        show_default="rot0",
        help=f"Turn the file of {files}: numpy.rot90 by an angle, then reverse the columns (flip). "
        "One of rot0, rot90, rot180, rot270, or the same with -flip.",
    )
