"""Query and unmount cryofs mounts from other processes.

Imports no FUSE library, so that `cryofs umount` and `cryofs stats` start quickly.
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
# Seconds before a copy in another mount namespace counts as permanent; short-lived namespaces also copy all mounts.
_NAMESPACE_SECONDS = 2.0
# Errors of a stale mount, and of a request that was pending when its process was killed.
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def is_mounted(mountpoint: Path) -> bool:
    """Return True if a cryofs mount, live or stale, is at this path, according to the mount table."""
    return device_number(mountpoint) is not None


def device_number(mountpoint: Path) -> str | None:
    """Return the device number (``major:minor``) of the cryofs mount at this path, or None."""
    mount = _mount_at(mountpoint)
    return mount.device if mount else None


def place_of(mountpoint: Path) -> Path:
    """Return a mountpoint as listed in the mount table, with links resolved but without accessing the mount."""
    place = _in_real_folder(mountpoint)
    return place if _mount_at(place) or not place.is_symlink() else Path(os.path.realpath(place))


def _in_real_folder(mountpoint: Path) -> Path:
    """Resolve the parent folder only, which does not access the mount."""
    return Path(os.path.realpath(mountpoint.parent)) / mountpoint.name


def _mount_at(mountpoint: Path) -> Mount | None:
    place = _in_real_folder(mountpoint)
    ours = [mount for mount in mount_table() if mount.kind == FILE_SYSTEM_TYPE and mount.place == place]
    # the last mount in the table is the topmost
    return ours[-1] if ours else None


def is_dead(mountpoint: Path) -> bool:
    """Return True if a stale cryofs mount is at this path."""
    if not is_mounted(mountpoint.absolute()):
        return False
    try:
        os.getxattr(mountpoint, FACTS_ATTRIBUTE)
    except OSError as error:
        return error.errno in _DEAD
    return False


def mount_facts(path: Path) -> dict[str, Any] | None:
    """Return the status of the mount at this path, or None if it is not a cryofs mount.

    Raises
    ------
    MountError
        If the mount is stale, or not accessible to the current user.
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
                f"{path}: mounted by another user, without access for others; mount it with -o allow_other"
            ) from error
        return None


def file_facts(path: Path) -> dict[str, Any] | None:
    """Return details of a movie as its mount shows it, or None if the path has none.

    Raises
    ------
    OSError
        The path does not exist, or cannot be read.
    """
    try:
        return dict(json.loads(os.getxattr(path, FACTS_ATTRIBUTE)))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise


def clear_dead_mount(mountpoint: Path) -> bool:
    """Remove a stale cryofs mount from this path, even if it is in use; return True if one was removed.

    Raises
    ------
    MountError
        If it cannot be removed, for example because another user mounted it.
    """
    dead = is_dead(mountpoint)
    if dead:
        unmount(mountpoint, lazy=True)
    return dead


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Unmount; wait until the mount is removed, and until its process has ended unless it serves other mounts.

    Parameters
    ----------
    lazy : bool
        Detach the mount even if it is in use, and do not wait for the process, which ends when the last program has
        closed its files.

    Raises
    ------
    MountError
        If there is no cryofs mount at this path, or the mount is in use.
    """
    mountpoint = place_of(mountpoint.absolute())
    mount = _mount_at(mountpoint)
    if mount is None:
        raise MountError(f"{mountpoint}: not a cryofs mount; list mounts with findmnt -t {FILE_SYSTEM_TYPE}")
    if mount.user not in (None, os.geteuid()) and os.geteuid() != 0:
        owner = _user_name(mount.user)
        raise MountError(f"{mountpoint}: mounted by another user ({owner}); unmount it as that user or as root")
    process = None if lazy or _is_elsewhere(mount) else _only_serving(mountpoint)
    entry = _bdi_entry(mount)
    _remove(mountpoint, lazy)
    began = time.monotonic()
    while _is_there(mount) or (process is not None and _runs(process)):
        seconds = time.monotonic() - began
        if seconds > _NAMESPACE_SECONDS and entry is not None and _bdi_entry(mount) == entry:
            # also mounted in another mount namespace, so its process continues
            process = None
        if seconds > _UNMOUNT_SECONDS:
            what = "still mounted" if process is None else f"its process {process} is still running"
            raise MountError(f"{mountpoint}: {what} {_UNMOUNT_SECONDS:g} s after unmounting; see its log")
        time.sleep(0.002)


def _is_there(mount: Mount) -> bool:
    # mount IDs are reused, so all other fields must match too
    return any(other == mount and other.number == mount.number for other in mount_table())


def _is_elsewhere(mount: Mount) -> bool:
    """Return True if the file system of a mount is also mounted elsewhere (bind mounts)."""
    return any(other.device == mount.device and other.number != mount.number for other in mount_table())


def _bdi_entry(mount: Mount) -> int | None:
    """Return the inode of the kernel's backing device entry for a file system, or None if there is no entry.

    The entry exists while the FUSE file system is mounted in any mount namespace. Device numbers are reused
    immediately, but the inodes of these entries are not.
    """
    try:
        return Path("/sys/class/bdi", mount.device).stat().st_ino
    except OSError:
        return None


def _remove(mountpoint: Path, lazy: bool) -> None:
    """Remove the topmost mount on a mountpoint."""
    tool = shutil.which("fusermount3")
    command = [tool, "-u", *(["-z"] if lazy else [])] if tool else ["umount", *(["-l"] if lazy else [])]
    command += ["--", str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["unmounting failed"]
        raise MountError(
            f"{mountpoint}: {reason[0]}; stop the programs that use it (fuser -vm {mountpoint}) and retry, "
            "or detach it now and let open files finish (--lazy)"
        )


def _only_serving(mountpoint: Path) -> int | None:
    """Return the process ID of a mount, or None if the process does not respond or also serves other mounts."""
    with contextlib.suppress(MountError):
        facts = mount_facts(mountpoint)
        if facts is not None and _connections(facts["pid"]) == 1:
            return int(facts["pid"])
    return None


def _connections(pid: int) -> int:
    """Return the number of open FUSE connections of a process; 0 for a process in another PID namespace."""
    count = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            # the descriptor may have been closed since the folder was listed
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
    # the program name, in parentheses, may contain any bytes
    return not status.rpartition(b") ")[2].startswith(b"Z")
