"""Find out why a mount is stale or does not respond, for `cryofs doctor`."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryofs.fuse.control import FUSE_DEVICE
from cryofs.fuse.log_file import log_places
from cryofs.system.mount_table import Mount
from cryofs.system.process_state import descriptors_of, process_state
from cryofs.system.resources import ROOT, system_text

# Bytes at the end of a log that contain its last lines.
_TAIL = 4096
_ERROR = re.compile(r"^(?P<time>[-\d]+ [:\d]+)\S* cryofs (?:ERROR|CRITICAL): (?P<text>.*)$")


@dataclass(frozen=True)
class Server:
    """The process of a mount.

    Attributes
    ----------
    is_stopped : bool
        Whether it was stopped, for example by SIGSTOP or in a frozen container.
    """

    number: int
    is_stopped: bool


def server_of(mount: Mount, root: Path = ROOT) -> Server | None:
    """Return the process that serves a mount, without asking the mount.

    None if this kernel does not report the connection of a descriptor, or if this user may not inspect the process.
    """
    connection = mount.device.partition(":")[2]
    found: dict[int, Server] = {}
    for folder in (root / "proc").iterdir():
        if folder.name.isdecimal() and _serves(folder, connection) and (state := process_state(folder)):
            found[state.start] = Server(int(folder.name), state.letter in ("T", "t"))
    # numbers of connections are used again, and a stopped process keeps its own
    return found[max(found)] if found else None


def _serves(process: Path, connection: str) -> bool:
    for descriptor in descriptors_of(process, FUSE_DEVICE):
        # it may have been closed since
        with contextlib.suppress(OSError):
            text = system_text(process / "fdinfo" / descriptor)
            if re.search(rf"^fuse_connection:\s*{connection}$", text, re.MULTILINE):
                return True
    return False


def last_error(mountpoint: Path) -> str:
    """Return the error with which the default log of a mount ends, and its time, or an empty string."""
    for place in log_places(mountpoint):
        with contextlib.suppress(OSError), place.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            last = file.read().decode(errors="replace").rstrip("\n").rpartition("\n")[2]
            if match := _ERROR.search(last):
                return f"{match['text'].removeprefix(f'{mountpoint}: ')} ({match['time']})"
    return ""
