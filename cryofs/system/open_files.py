"""Programs that have files open, as far as the user has permission to see them."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from cryofs.system.process_state import PROC, open_files


def writers_of(files: Collection[Path], processes: Path = PROC) -> dict[Path, str]:
    """Return, for each file, a program that has it open for writing, such as ``dd (process 4711)``, if one is found."""
    found: dict[Path, str] = {}
    for process in processes.iterdir():
        for descriptor, file in open_files(process) if process.name.isdecimal() else ():
            # the process may have closed the file, or ended
            with contextlib.suppress(OSError):
                if file in files and _is_written(process / "fdinfo" / descriptor):
                    found[file] = f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return found


def _is_written(info: Path) -> bool:
    """Return True if the flags of a descriptor permit to write."""
    for line in info.read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
