"""The command line application: commands, exit codes, and error output.

Exit codes: 0 success, 1 some files failed (all others are done), 2 invalid usage. The module of a command is imported
when the command is used, and imports the library when it runs, so that `cryofs umount` does not wait for numba.
"""

import importlib
import io
import os
import sys

import click

from cryofs.cli import INTERRUPTED, VERSION_LINE
from cryofs.cli.output import one_line
from cryofs.errors import CryofsError, UsageError
from cryofs.version import VERSION

# To add a command, write a module with its name (underscores for hyphens), and add the name here.
COMMANDS: tuple[str, ...] = (
    "mount",
    "umount",
    "compress",
    "ingest",
    "adopt",
    "estimate-gain",
    "check-gain",
    "verify",
    "compare",
    "extract",
    "info",
    "preview",
    "report",
    "stats",
    "trajectory",
    "config",
    "doctor",
    "warm",
)


class _LazyGroup(click.Group):
    """Group of all commands that imports only the command in use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it, or None if it does not exist."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cryofs.cli.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; suggest similar names if it does not exist."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            # click would suggest only commands that are already imported
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)


@click.group("cryofs", cls=_LazyGroup)
@click.version_option(VERSION, message=VERSION_LINE, help="Print the version and exit.")
def app() -> None:
    """Compress cryo-EM movies losslessly, and mount the archive so that every tool reads the original MRC files.

    Every command accepts --debug, which prints the traceback of an error.

    Example: cryofs compress /data/session -o /archive/session && cryofs mount /archive/session /mnt/movies
    """


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # file names may contain bytes that the terminal cannot encode
            stream.reconfigure(errors="backslashreplace")
    try:
        if "" in arguments and "mount" not in arguments:
            # an empty path would mean the working directory; a list of mount options may be empty
            raise UsageError("empty argument; check for an unset shell variable")
        return _run([argument for argument in arguments if argument != "--debug"])
    except BrokenPipeError:
        # the reader closed the pipe: discard further output, including the flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CryofsError, OSError) as error:
        if debug:
            raise
        print(f"cryofs: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _run(arguments: list[str]) -> int:
    if "_CRYOFS_COMPLETE" in os.environ:
        # a shell requests completions
        app.main(arguments, prog_name="cryofs")
    code = 0
    try:
        # compress prints these arguments as part of the command that continues an interrupted run
        with app.make_context("cryofs", list(arguments), obj=arguments) as context:
            app.invoke(context)
    except click.exceptions.Exit as finished:
        code = finished.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        is_compress = "compress" in arguments[:1]
        hint = "; finished files are kept, continue with --only-do-unfinished" if is_compress else ""
        print(f"cryofs: interrupted{hint}", file=sys.stderr)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code
