"""The mount table of this process. Reading it does not access mounts, so stale and hanging mounts cannot block it."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")
# File system types served over a network or by another process: small reads are slow, and any read may hang.
_REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse", "virtiofs")
# fields: ID, parent, device, root, mountpoint, options, optional fields, separator, type, source, super options
_LINE = re.compile(
    rb"(?P<number>\d+) \d+ (?P<device>\d+:\d+) [^ ]+ (?P<place>/[^ ]*) r[ow](?:,[^ ]*)?(?: [^ ]+)*? "
    rb"- (?P<kind>[^ ]+) [^ ]* (?P<options>[^ ]*)"
)
_USER = re.compile(rb"\buser_id=(\d+)")
# Links in a path, as the kernel limits them.
_MOST_LINKS = 40
# octal escapes of spaces and other characters in paths; a path cannot contain a zero byte
_OCTAL = re.compile(rb"\\(?!000)([0-3][0-7]{2})")


@dataclass(frozen=True)
class Mount:
    """A line of the mount table.

    Attributes
    ----------
    place : Path
        Mountpoint.
    device : str
        Device number (``major:minor``).
    kind : str
        File system type.
    user : int or None
        ID of the user who mounted the file system; None if no process serves it.
    number : int
        ID of the mount; two mounts of the same file system have different IDs.
    """

    place: Path
    device: str
    kind: str
    user: int | None = None
    number: int = field(default=0, compare=False)


def mount_table(table: Path = MOUNT_TABLE) -> list[Mount]:
    """Return all mounts; later mounts are on top of earlier ones.

    Lines that do not follow proc(5) are skipped: Docker Desktop in WSL, for example, does not escape spaces in options.
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
    """Return a field of the mount table or of /etc/fstab with escaped characters decoded."""
    return os.fsdecode(_OCTAL.sub(_unescape, field))


def mount_of(path: Path, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that contains an absolute path, or None if the table has no such mount."""
    holding = (mount for mount in mounts if path.is_relative_to(mount.place))
    # the last mount on a mountpoint is the topmost
    return max(enumerate(holding), key=lambda each: (len(each[1].place.parts), each[0]), default=(0, None))[1]


def resolved(path: Path, mounts: Iterable[Mount], kind: str) -> tuple[Path, Mount | None]:
    """Resolve the links in an absolute path without accessing mounts of a type, which may be stale or stuck.

    Returns
    -------
    path : Path
        The path without links, up to the first part that is on a mount of this type.
    mount : Mount or None
        That mount, or None if the path is on no such mount.
    """
    tops = {mount.place: mount for mount in mounts}
    # places in the table contain no links, so a path that begins with one of them needs no access to storage
    if ".." not in path.parts and (mount := _innermost(path, tops, kind)):
        return path, mount
    found, left, links = Path("/"), list(reversed(path.parts[1:])), 0
    while left:
        name = left.pop()
        place = found.parent if name == ".." else found / name
        is_link = name != ".." and links < _MOST_LINKS and not _innermost(place, tops, kind)
        target = _target(place) if is_link else None
        if target is None:
            found = place
            continue
        links += 1
        found = Path("/") if target.is_absolute() else found
        left += reversed([part for part in target.parts if part != "/"])
    return found, _innermost(found, tops, kind)


def _innermost(path: Path, tops: dict[Path, Mount], kind: str) -> Mount | None:
    """Return the mount of a type with the longest path that contains a path."""
    places = (place for place in (path, *path.parents) if place in tops and tops[place].kind == kind)
    return tops[place] if (place := next(places, None)) else None


def _target(place: Path) -> Path | None:
    try:
        return place.readlink()
    except OSError:
        # not a link, or missing
        return None


def is_remote(kind: str) -> bool:
    """Return True unless a file system type is that of a local disk."""
    return kind.startswith(_REMOTE)


def may_be_remote(path: Path) -> bool:
    """Return True unless a path, with links resolved, is known to be on a local disk."""
    mount = mount_of(Path(os.path.realpath(path)), mount_table())
    return mount is None or is_remote(mount.kind)


def _unescape(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])
