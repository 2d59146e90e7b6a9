"""The table of mounts as this process sees it. Reading it touches no mount, so dead and stuck ones do no harm."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")
# File systems that ask over a network, or another process: small reads take long, and any of them may get stuck.
_FAR = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse", "virtiofs")
_USER = re.compile(rb"\buser_id=(\d+)")
# how the table writes spaces and the like in paths
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A line of the table.

    Attributes
    ----------
    place : Path
        Where it is mounted.
    device : str
        Number of the device (``major:minor``).
    kind : str
        Type of file system.
    user : int or None
        Who mounted it, of file systems in a process.
    """

    place: Path
    device: str
    kind: str
    user: int | None = None


def mount_table(table: Path = MOUNT_TABLE) -> list[Mount]:
    """All mounts, the later ones on top of the earlier."""
    mounts = []
    for line in table.read_bytes().splitlines():
        fields, _, of_kind = line.partition(b" - ")
        _, _, device, _, place, *_ = fields.split(b" ")
        kind, _, options = of_kind.split(b" ")
        user = _USER.search(options)
        mounts.append(Mount(Path(unescaped(place)), device.decode(), kind.decode(), int(user[1]) if user else None))
    return mounts


def unescaped(field: bytes) -> str:
    """A field of the table, or of /etc/fstab, with its spaces and the like."""
    return os.fsdecode(_OCTAL.sub(_unescape, field))


def mount_of(path: Path, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path leads to."""
    holding = (mount for mount in mounts if path.is_relative_to(mount.place))
    # of mounts at one place the last is on top
    return max(enumerate(holding), key=lambda each: (len(each[1].place.parts), each[0]), default=(0, None))[1]


def is_far(kind: str) -> bool:
    """Whether a type of file system is none of the machine's own disks."""
    return kind.startswith(_FAR)


def _unescape(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])
