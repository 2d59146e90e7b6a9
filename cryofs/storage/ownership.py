"""Names of drafts and locks, by which other processes detect that the owner has ended.

A name contains the host, a hash of the boot and the PID namespace, the process number and its start time. So another
process of the same host and namespace can prove that the process has ended. Nothing else can prove it: not another
host, another container, or a lock of the kernel, which many network file systems keep for each host separately.
"""

import functools
import hashlib
import os
import platform
import re
import secrets
import time

from cryofs.system.process_state import PROC, process_state

# Files of processes that cannot be proven dead are stale after this time.
_DAY = 24 * 3600
_PATTERN = re.compile(r"(?P<host>[\w.-]+)-(?P<space>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-(?P<token>[0-9a-f]{16})")
# As stat(5) of a process shows a process that has ended.
_ENDED = ("Z", "X")

# Names that this process uses.
_used: set[str] = set()


def new_name() -> str:
    """Return a unique name of this process; the caller passes it to `release` when its file is gone."""
    name = f"{_host()}-{_space(os.getpid())}-{os.getpid()}-{_start(os.getpid())}-{secrets.token_hex(8)}"
    _used.add(name)
    return name


def release(name: str) -> None:
    """Record that this process no longer uses a name."""
    _used.discard(name)


def has_ended(name: str) -> bool | None:
    """Return True if the maker of a name no longer uses it, False if it does, None if neither can be proven."""
    if name in _used:
        return False
    found = _PATTERN.fullmatch(name)
    own = os.getpid()
    if found is None or (found["host"], found["space"]) != (_host(), _space(own)):
        return None
    pid = int(found["pid"])
    return _is_gone(pid, int(found["start"])) or pid == own


def is_stale(name: str, mtime: float) -> bool:
    """Return True if the file with a name is left over: its process has ended, or is unknown and the file is old.

    Parameters
    ----------
    mtime : float
        When the file was last modified, in seconds since the epoch.
    """
    ended = has_ended(name)
    return time.time() - mtime > _DAY if ended is None else ended


def _is_gone(pid: int, start: int) -> bool:
    """Return True if no process has a number, or if the process with it has another start time or has ended."""
    try:
        # processes of other users may be hidden in /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    found = process_state(PROC / str(pid))
    return found is not None and (found.letter in _ENDED or found.start != start)


@functools.cache
def _host() -> str:
    return re.sub(r"[^\w.-]", "_", platform.node(), flags=re.ASCII)[:32] or "localhost"


@functools.cache
def _space(pid: int) -> str:
    """Return a hash of the boot and the PID namespace of this process; a random one if they are unknown."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text()
        namespace = (PROC / "self/ns/pid").readlink()
    except OSError:
        return secrets.token_hex(4)
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:8]


@functools.cache
def _start(pid: int) -> int:
    found = process_state(PROC / str(pid))
    return found.start if found else 0
