"""The time that the kernel gives a FUSE request; if one takes longer, the kernel ends the whole mount (Linux 6.15)."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("/proc/sys/fs/fuse")
# Shortest limit that the kernel applies, the interval of its checks (fs/fuse/fuse_i.h).
_SHORTEST = 15
# Shares of the limit for storage to respond, and for a whole request. The rest is for requests that arrive while all
# threads wait for storage, and that the mount has therefore not received yet.
_FOR_STORAGE = 1 / 3
_FOR_REQUESTS = 2 / 3


@dataclass(frozen=True)
class RequestLimit:
    """The limit of the kernel for a request.

    Attributes
    ----------
    seconds : int
        Time after which the kernel ends the mount.
    name : str
        Name of the setting, as for sysctl(8).
    """

    seconds: int
    name: str

    @property
    def storage_seconds(self) -> float:
        """Longest time to wait for storage, in seconds."""
        return round(self.seconds * _FOR_STORAGE, 1)

    @property
    def request_seconds(self) -> float:
        """Longest time for a request, in seconds."""
        return round(self.seconds * _FOR_REQUESTS, 1)


def request_limit(folder: Path = FOLDER) -> RequestLimit | None:
    """Return the limit for mounts that are made now, or None if this kernel sets none.

    A mount that does not ask for a limit gets the default, and in any case at most the maximum.
    """
    limits = {name: _number(folder / name) for name in ("max_request_timeout", "default_request_timeout")}
    found = {name: seconds for name, seconds in limits.items() if seconds}
    if not found:
        return None
    name = min(found, key=lambda name: found[name])
    return RequestLimit(max(_SHORTEST, found[name]), f"fs.fuse.{name}")


def _number(path: Path) -> int:
    """Return the number in a file of the kernel, or 0 if it does not exist."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
