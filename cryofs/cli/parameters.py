"""Parameters that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from cryofs.config.choices import EerUpsampling
from cryofs.system.resources import usable_cores

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# the library checks access, with better messages
PATH = click.Path(path_type=Path, readable=False)
UPSAMPLING = click.Choice(get_args(EerUpsampling))


def jobs_option(help: str = "Number of threads.") -> Decorator:  # noqa: A002 - the word of click
    """Return the decorator for --jobs, by default all usable cores."""
    return click.option("--jobs", type=click.IntRange(1), default=usable_cores, show_default="all cores", help=help)
