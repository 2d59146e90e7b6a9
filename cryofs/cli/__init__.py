"""The command line: one file a command, each parsing options, calling, printing.

Imports none of them by itself, so that the helper of mount(8) starts at once.
"""

import os
import sys

_STANDARD_STREAMS = (0, 1, 2)
# NumPy would start a thread a core for linear algebra, which nothing here uses; workers inherit this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# what shells call a command that Ctrl-C ended
INTERRUPTED = 130


def main() -> None:
    """Entry point of the `cryofs` command."""
    open_standard_streams()
    try:
        from cryofs.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("cryofs: interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def open_standard_streams() -> None:
    """Fill the places of standard streams that a daemon has closed, so that no file or pipe of ours gets them."""
    for descriptor in _STANDARD_STREAMS:
        try:
            os.fstat(descriptor)
        except OSError:
            # takes the lowest number that is free
            os.open(os.devnull, os.O_RDWR)
