"""The command line: one file a command, each parsing options, calling, printing."""

import os
import sys

# NumPy would start a thread a core for linear algebra, which nothing here uses; workers inherit this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cryofs.cli.app import run


def main() -> None:
    """Entry point of the `cryofs` command."""
    sys.exit(run(sys.argv[1:]))
