"""The table of mounts as this process sees it. Reading it touches no mount, so dead and stuck ones do no harm."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")
# File systems that ask over a network, or another process: small reads take long, and any of them may get stuck.
_FAR = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse", "virtiofs")
# number, parent, device, root, place, options, optional fields, separator, type, source, options of the file system
_LINE = re.compile(
    rb"(?P<number>\d+) \d+ (?P<device>\d+:\d+) [^ ]+ (?P<place>/[^ ]*) r[ow](?:,[^ ]*)?(?: [^ ]+)*? "
    rb"- (?P<kind>[^ ]+) [^ ]* (?P<options>[^ ]*)"
)
_USER = re.compile(rb"\buser_id=(\d+)")
# how the table writes spaces and the like in paths; a path cannot hold the zero byte
_OCTAL = re.compile(rb"\\(?!000)([0-3][0-7]{2})")


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
        User who mounted it, for file systems served by a process.
    number : int
        Number of the mount. Two mounts of one file system have different numbers.
    """

    place: Path
    device: str
    kind: str
    user: int | None = None
    number: int = field(default=0, compare=False)


def mount_table(table: Path = MOUNT_TABLE) -> list[Mount]:
    """Return all mounts, the later ones on top of the earlier.

    Lines that do not have the documented form (proc(5)) are skipped. Docker Desktop in WSL, for example, leaves spaces
    in options.
    """
    # the kernel escapes line feeds in paths, but not carriage returns
    mounts = (_mount(line) for line in table.read_bytes().split(b"\n"))
    return [mount for mount in mounts if mount is not None]


def _mount(line: bytes) -> Mount | None:
    """Return the mount that a line describes, or None if the line is not valid."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    user = _USER.search(match["options"])
    return Mount(
        Path(unescaped(match["place"])),
        match["device"].decode(),
        os.fsdecode(match["kind"]),
        int(user[1]) if user else None,
        int(match["number"]),
    )


def unescaped(field: bytes) -> str:
    """Return a field of the table, or of /etc/fstab, with its escaped characters decoded."""
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
