"""The command line: one file a command, each parsing options, calling, printing.

Imports none of them by itself, so that the helper of mount(8) starts at once.
"""

import os
import sys

# NumPy would start a thread a core for linear algebra, which nothing here uses; workers inherit this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Entry point of the `cryofs` command."""
    from cryofs.cli.app import run

    sys.exit(run(sys.argv[1:]))
