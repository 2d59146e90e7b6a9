"""Other processes of this machine, as proc(5) shows them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
# Place of the start time after the name of the program.
_START = 19


class ProcessState(NamedTuple):
    """State of a process: the letter of proc(5), such as "Z" for a zombie, and the start time in clock ticks."""

    letter: str
    start: int


def process_state(process: Path) -> ProcessState | None:
    """Return the state of the process with a folder in /proc, or None if it is unknown, or the process is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # the name of the program, in parentheses, may contain any bytes
        fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
        return ProcessState(fields[0].decode(), int(fields[_START]))
    return None


def open_files(process: Path) -> Iterator[tuple[str, Path]]:
    """Yield the open descriptors of a process with their files; none if this user may not inspect the process."""
    with contextlib.suppress(OSError), os.scandir(process / "fd") as entries:
        for entry in entries:
            # the descriptor may have been closed since the folder was listed
            with contextlib.suppress(OSError):
                yield entry.name, Path(entry.path).readlink()


def descriptors_of(process: Path, file: Path) -> list[str]:
    """Return the open descriptors of a process that refer to a file."""
    return [descriptor for descriptor, opened in open_files(process) if opened == file]
