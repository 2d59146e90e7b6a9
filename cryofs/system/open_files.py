"""Programs that have files open, as far as the user may see."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from cryofs.system.process_state import PROC


def writers_of(files: Collection[Path], processes: Path = PROC) -> dict[Path, str]:
    """Return a program that has each file open for writing, such as ``dd (process 4711)``, where one is found."""
    found: dict[Path, str] = {}
    for process in processes.iterdir():
        if not process.name.isdecimal():
            continue
        # the process may have ended, or belong to another user
        with contextlib.suppress(OSError), os.scandir(process / "fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    file = Path(entry.path).readlink()
                    if file in files and _is_written(process / "fdinfo" / entry.name):
                        found[file] = f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return found


def _is_written(info: Path) -> bool:
    """Return True if the flags of a descriptor permit to write."""
    for line in info.read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
