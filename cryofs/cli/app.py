"""The command line application: its commands, its exit codes, and how errors are printed.

Exit codes: 0 done, 1 some files failed (the others are done), 2 usage. Modules of the commands import what they need
when they run, so that `cryofs umount` does not wait for numba.
"""

import io
import os
import sys
from typing import Annotated

import typer

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
    umount,
    verify,
)
from cryofs.cli.output import one_line
from cryofs.errors import CryofsError, UsageError
from cryofs.version import VERSION

app = typer.Typer(
    name="cryofs",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
COMMANDS = (
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
    config,
    doctor,
)
for module in COMMANDS:
    app.command(name=module.NAME)(module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cryofs {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Cryo-EM movies stored small, shown to every tool as the original MRC files.

    Any command takes --debug, which shows where an error comes from.
    """


def run(arguments: list[str]) -> int:
    """Run a command line; return its exit code."""
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # names of files may be no text, or none that the terminal knows
            stream.reconfigure(errors="backslashreplace")
    try:
        if "" in arguments and mount.NAME not in arguments:
            # as a path it would be the folder that the command runs in; a list of mount options may be empty
            raise UsageError("an argument is empty; is a variable of the shell not set?")
        return _run([argument for argument in arguments if argument != "--debug"])
    except BrokenPipeError:
        # whoever read the output has heard enough; nothing more goes there, at the end of the process neither
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
        # compress prints the command that goes on with its work
        app(arguments, obj=arguments)
    except SystemExit as finished:
        code = finished.code if isinstance(finished.code, int) else 0
    if code == INTERRUPTED:
        goes_on = "; what is done is kept, and --only-do-unfinished goes on" if compress.NAME in arguments[:1] else ""
        print(f"cryofs: interrupted{goes_on}", file=sys.stderr)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code
