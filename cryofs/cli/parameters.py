"""Parameters that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
from click.shell_completion import CompletionItem

from cryofs.config.choices import CompressionChoice, EerUpsampling, GainOrientation
from cryofs.execution.parts import WHOLE, Part, part_of
from cryofs.system.resources import usable_cores

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _PathType(click.ParamType[Path]):
    """A path. click.Path would access it, and wait without a limit for a mount that does not respond."""

    name = "path"

    def __init__(self, *, is_used: bool):
        self._is_used = is_used

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; raise MountError if it is used, and is on a cryofs mount that does not respond."""
        path = Path(value)
        if self._is_used and ctx is not None and not ctx.resilient_parsing:
            from cryofs.fuse.control import check_responds, mount_holding

            mount = mount_holding(path)
            # a command may have many arguments on one mount
            checked: set[Path] = ctx.meta.setdefault("cryofs.responding", set())
            if mount is not None and mount.place not in checked:
                check_responds(mount.place)
                checked.add(mount.place)
        return path

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete file names."""
        return [CompletionItem(incomplete, type="file")]


# the library checks access, with more helpful messages
PATH = _PathType(is_used=True)
# a path that may be the mountpoint of a mount that does not respond
MOUNTPOINT = _PathType(is_used=False)
UPSAMPLING = click.Choice(get_args(EerUpsampling))


def jobs_option(help: str = "Number of threads.") -> Decorator:  # noqa: A002 - the word of click
    """Return the decorator for --jobs; the default is all usable cores."""
    return click.option("--jobs", type=click.IntRange(1), default=usable_cores, show_default="all cores", help=help)


def json_option(help: str = "Print the result as JSON.") -> Decorator:  # noqa: A002
    """Return the decorator for --json, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def files_argument(name: str, metavar: str, help: str) -> Decorator:  # noqa: A002
    """Return the decorator for one or more paths, passed as a tuple."""
    return click.argument(name, type=PATH, nargs=-1, required=True, metavar=f"{metavar}...", help=help)


class _PartType(click.ParamType[Part]):
    """Parse a part of a run."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Part:
        return value if isinstance(value, Part) else part_of(value)


def part_option(what: str) -> Decorator:
    """Return the decorator for --part; `what` completes its help."""
    return click.option(
        "--part",
        type=_PartType(),
        default=WHOLE,
        show_default="everything",
        metavar="I/N|auto",
        help=f"{what} only part I of N, counted from 1; auto takes it from MPI, a Slurm array or srun.",
    )


def compression_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate with --compression."""
    return click.option(
        "--compression",
        type=click.Choice(get_args(CompressionChoice)),
        default="auto",
        show_default=True,
        help="TIFF codec; auto chooses the fastest of those within 1 % of the smallest size.",
    )(command)


def break_lock_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --break-lock to a command."""
    text = "Ignore cryofs commands on other machines that lock the archive; use it only if they no longer run."
    return click.option("--break-lock", is_flag=True, help=text)(command)


def gain_orientation_option(files: str) -> Decorator:
    """Return the decorator for --gain-orientation; `files` names the options that it affects."""
    return click.option(
        "--gain-orientation",
        metavar="ORIENTATION",
        type=click.Choice(get_args(GainOrientation)),
        show_default="rot0",
        help=f"Rotate the gain reference of {files} by an angle (numpy.rot90), then reverse the columns if the name "
        "ends in -flip: rot0, rot90, rot180, rot270, rot0-flip, and so on.",
    )
