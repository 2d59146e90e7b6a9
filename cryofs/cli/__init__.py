"""The command line: one module per command, which parses options, calls the library and prints the result.

The package itself does not import these modules, so that the mount(8) helper starts quickly.
"""

import os
import sys

from cryofs.version import VERSION

_STANDARD_STREAMS = (0, 1, 2)
# OpenBLAS would start one thread per core on import, but cryofs does not use linear algebra; workers inherit this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# the exit code that shells use for a command interrupted by Ctrl-C
INTERRUPTED = 130
VERSION_LINE = f"cryofs {VERSION}"


def main() -> None:
    """Run the `cryofs` command and exit."""
    open_standard_streams()
    if sys.argv[1:] == ["--version"]:
        print(VERSION_LINE)
        sys.exit()
    use_utf8()
    try:
        from cryofs.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("cryofs: interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def open_standard_streams() -> None:
    """Open /dev/null for each closed standard stream, so that no other file gets its descriptor."""
    for descriptor in _STANDARD_STREAMS:
        try:
            os.fstat(descriptor)
        except OSError:
            # open() returns the lowest free descriptor
            os.open(os.devnull, os.O_RDWR)


def use_utf8() -> None:
    """Start the interpreter again in its UTF-8 mode, unless it treats names as UTF-8 already.

    File names are bytes. In the UTF-8 mode, text stands for the same bytes in every module and in worker processes.
    In a locale such as de_DE.ISO-8859-1 it would not: lists and records contain names in UTF-8. Output keeps the
    encoding of the locale, which is that of the terminal, and escapes what it lacks.
    """
    encoding = sys.getfilesystemencoding()
    if sys.flags.utf8_mode or encoding == "utf-8":
        return
    # the arguments as bytes, because some encodings do not restore all of them
    with open("/proc/self/cmdline", "rb") as file:  # noqa: PTH123 - importing pathlib takes time
        program, *arguments = file.read().removesuffix(b"\0").split(b"\0")
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [program, b"-X", b"utf8", *arguments])
