"""The command line: one file a command, each parsing options, calling, printing."""

import sys

from cryofs.cli.app import run


def main() -> None:
    """Entry point of the `cryofs` command."""
    sys.exit(run(sys.argv[1:]))
