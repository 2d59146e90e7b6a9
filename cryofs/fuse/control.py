"""Talking to a mount from outside: is this a mountpoint of ours, what does it say, and unmounting it.

Imports no FUSE library, so that `cryofs umount` and `cryofs stats` start at once.
"""

import contextlib
import errno
import json
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from cryofs.errors import MountError
from cryofs.system.mount_table import Mount, mount_table

FILE_SYSTEM_TYPE = "fuse.cryofs"
ATTRIBUTE_PREFIX = "user.cryofs."
FACTS_ATTRIBUTE = ATTRIBUTE_PREFIX + "facts"
_UNMOUNT_SECONDS = 30.0
# A mount namespace that is made for a short command has copies of all mounts, and should not be taken for a container.
_NAMESPACE_SECONDS = 2.0
# What a mount without a process answers, and a request that it was killed under.
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def is_mounted(mountpoint: Path) -> bool:
    """Whether a mount of cryofs is at this path, be it alive or dead. Looks at the mount table, never at the mount."""
    return device_number(mountpoint) is not None


def device_number(mountpoint: Path) -> str | None:
    """Device number (``major:minor``) of the cryofs mount at this path, None where there is none."""
    mount = _mount_at(mountpoint)
    return mount.device if mount else None


def place_of(mountpoint: Path) -> Path:
    """A mountpoint as the table of mounts has it, links followed; a mount there, which may be dead, is not touched."""
    place = _in_real_folder(mountpoint)
    return place if _mount_at(place) or not place.is_symlink() else Path(os.path.realpath(place))


def _in_real_folder(mountpoint: Path) -> Path:
    """Resolving the folder alone does not touch the mount."""
    return Path(os.path.realpath(mountpoint.parent)) / mountpoint.name


def _mount_at(mountpoint: Path) -> Mount | None:
    place = _in_real_folder(mountpoint)
    ours = [mount for mount in mount_table() if mount.kind == FILE_SYSTEM_TYPE and mount.place == place]
    # the last is on top
    return ours[-1] if ours else None


def is_dead(mountpoint: Path) -> bool:
    """Whether a mount of cryofs is at this path whose process is gone."""
    if not is_mounted(mountpoint.absolute()):
        return False
    try:
        os.getxattr(mountpoint, FACTS_ATTRIBUTE)
    except OSError as error:
        return error.errno in _DEAD
    return False


def mount_facts(path: Path) -> dict[str, Any] | None:
    """What the mount at this path says of itself, None where none of ours is there.

    Raises
    ------
    MountError
        The mount is dead, or closed to this user.
    """
    try:
        return dict(json.loads(os.getxattr(path, FACTS_ATTRIBUTE)))
    except OSError as error:
        if error.errno in _DEAD:
            raise MountError(
                f"{path}: stale mount, its process has ended; remove it with cryofs umount {path}"
            ) from error
        if error.errno == errno.EACCES and is_mounted(path.absolute()):
            raise MountError(
                f"{path}: a mount of another user, which is closed to others; have it mounted with -o allow_other"
            ) from error
        return None


def clear_dead_mount(mountpoint: Path) -> bool:
    """Take a dead mount of cryofs away from this path, where there is one; programs that stand in it do not matter.

    Raises
    ------
    MountError
        It cannot be removed, for example because another user mounted it.
    """
    dead = is_dead(mountpoint)
    if dead:
        unmount(mountpoint, lazy=True)
    return dead


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Unmount, and wait until the mount is gone, and its process if that serves nothing else.

    Parameters
    ----------
    lazy : bool
        Detach the mount from its place even if it is in use, and do not wait for the process, which ends when the last
        program that uses the mount does.

    Raises
    ------
    MountError
        Nothing of ours is mounted there, or it is in use.
    """
    mountpoint = place_of(mountpoint.absolute())
    mount = _mount_at(mountpoint)
    if mount is None:
        raise MountError(f"{mountpoint}: no cryofs mount there; see the mounts with findmnt -t {FILE_SYSTEM_TYPE}")
    if mount.user not in (None, os.geteuid()) and os.geteuid() != 0:
        owner = _user_name(mount.user)
        raise MountError(f"{mountpoint}: mounted by another user ({owner}); let that user or root unmount it")
    process = None if lazy or _is_elsewhere(mount) else _only_serving(mountpoint)
    entry = _bdi_entry(mount)
    _remove(mountpoint, lazy)
    began = time.monotonic()
    while _is_there(mount) or (process is not None and _runs(process)):
        seconds = time.monotonic() - began
        if seconds > _NAMESPACE_SECONDS and entry is not None and _bdi_entry(mount) == entry:
            # mounted in another mount namespace too, so its process goes on
            process = None
        if seconds > _UNMOUNT_SECONDS:
            raise MountError(f"{mountpoint}: unmounted, but its process {process or ''} is still there")
        time.sleep(0.002)


def _is_there(mount: Mount) -> bool:
    # numbers of mounts are used again, so all else has to be equal too
    return any(other == mount and other.number == mount.number for other in mount_table())


def _is_elsewhere(mount: Mount) -> bool:
    """Return True if the file system of a mount is mounted at other places too (bind mounts)."""
    return any(other.device == mount.device and other.number != mount.number for other in mount_table())


def _bdi_entry(mount: Mount) -> int | None:
    """Return what identifies the kernel's entry of a file system, None if there is none.

    FUSE file systems have one as long as they are mounted in any mount namespace. Device numbers are used again at
    once, inodes of such entries are not.
    """
    try:
        return Path("/sys/class/bdi", mount.device).stat().st_ino
    except OSError:
        return None


def _remove(mountpoint: Path, lazy: bool) -> None:
    """Have the system remove the topmost mount at a place."""
    tool = shutil.which("fusermount3")
    command = [tool, "-u", *(["-z"] if lazy else [])] if tool else ["umount", *(["-l"] if lazy else [])]
    command += ["--", str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["unmounting failed"]
        raise MountError(
            f"{mountpoint}: {reason[0]}; close what uses it (fuser -vm {mountpoint}), then try again, "
            "or detach it now and let open files finish (--lazy)"
        )


def _only_serving(mountpoint: Path) -> int | None:
    """Return the process of a mount, None if it does not respond, or serves other mounts too."""
    with contextlib.suppress(MountError):
        facts = mount_facts(mountpoint)
        if facts is not None and _connections(facts["pid"]) == 1:
            return int(facts["pid"])
    return None


def _connections(pid: int) -> int:
    """Return how many connections to the kernel's FUSE a process has open; 0 for a process of another PID namespace."""
    count = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            # a descriptor may have been closed since the folder was read
            with contextlib.suppress(OSError):
                count += Path(entry.path).readlink() == Path("/dev/fuse")
    return count


def _user_name(number: int | None) -> str:
    try:
        return pwd.getpwuid(number or 0).pw_name
    except KeyError:
        return str(number)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # the name of the program, in parentheses, may hold any bytes
    return not status.rpartition(b") ")[2].startswith(b"Z")
