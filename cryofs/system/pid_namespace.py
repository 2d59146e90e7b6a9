"""Identify the PID namespace of this process; process numbers are valid only within one."""

import os
from pathlib import Path

PROC = Path("/proc")


def pid_namespace(proc: Path = PROC) -> int | None:
    """Return the inode of the PID namespace of this process, or None if its numbers are not those in /proc.

    The namespace of /proc may be another one, for example after unshare(1) without --mount-proc.
    """
    try:
        if (proc / "self").readlink() != Path(str(os.getpid())):
            return None
        return (proc / "self/ns/pid").stat().st_ino
    except OSError:
        return None
