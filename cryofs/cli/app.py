"""The command line application: commands, exit codes, and error output.

Exit codes: 0 success, 1 some files failed (all others are done), 2 invalid usage. Command modules import the library
when they run, so that `cryofs umount` does not wait for numba.
"""

import io
import os
import sys
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cryofs.cli import (
    INTERRUPTED,
    adopt,
    compare,
    compress,
    config,
    doctor,
    estimate_gain,
    extract,
    info,
    mount,
    preview,
    report,
    stats,
    trajectory,
    umount,
    verify,
)
from cryofs.cli.output import one_line
from cryofs.errors import CryofsError, UsageError
from cryofs.version import VERSION

# To add a command, write its module and add it here.
COMMANDS: tuple[ModuleType, ...] = (
    mount,
    umount,
    compress,
    adopt,
    estimate_gain,
    verify,
    compare,
    extract,
    info,
    preview,
    report,
    stats,
    trajectory,
    config,
    doctor,
)


class _Command(TyperCommand):
    """A command whose usage errors do not begin with the exception type that pydantic adds."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raise typer.BadParameter for an invalid one."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


def make_app() -> typer.Typer:
    """Return the application with all commands."""
    app = typer.Typer(
        name="cryofs",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(options)
    for module in COMMANDS:
        app.command(name=module.NAME, cls=_Command)(module.command)
    return app


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"cryofs {VERSION}")
        raise typer.Exit


def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compress cryo-EM movies losslessly, and mount the archive so that every tool reads the original MRC files.

    Every command accepts --debug, which prints the traceback of an error.

    Example: cryofs compress /data/session -o /archive/session && cryofs mount /archive/session /mnt/movies
    """


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # file names may contain bytes that the encoding of the terminal lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        if "" in arguments and mount.NAME not in arguments:
            # an empty path would mean the working directory; a list of mount options may be empty
            raise UsageError("empty argument; check for an unset shell variable")
        return _run([argument for argument in arguments if argument != "--debug"])
    except BrokenPipeError:
        # the reader closed the pipe; discard further output, including the flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CryofsError, OSError) as error:
        if debug:
            raise
        print(f"cryofs: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _run(arguments: list[str]) -> int:
    code = 0
    try:
        # compress prints these arguments in the command that continues an interrupted run
        make_app()(arguments, obj=arguments)
    except SystemExit as finished:
        code = finished.code if isinstance(finished.code, int) else 0
    if code == INTERRUPTED:
        is_compress = compress.NAME in arguments[:1]
        hint = "; finished files are kept, continue with --only-do-unfinished" if is_compress else ""
        print(f"cryofs: interrupted{hint}", file=sys.stderr)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code
