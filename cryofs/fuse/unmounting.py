"""Unmount from other processes, without waiting for a mount that does not respond.

Imports no FUSE library, so that `cryofs umount` starts quickly.
"""

import ctypes
import errno
import os
import pwd
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from cryofs.errors import MountError
from cryofs.fuse.control import (
    ANSWER_SECONDS,
    FILE_SYSTEM_TYPE,
    FUSE_DEVICE,
    PROCESS_ATTRIBUTE,
    ask,
    is_dead,
    mount_at,
    place_of,
)
from cryofs.system import limited
from cryofs.system.mount_table import Mount, mount_table
from cryofs.system.pid_namespace import pid_namespace
from cryofs.system.process_state import PROC, descriptors_of, process_state
from cryofs.text import printable

_UNMOUNT_SECONDS = 30.0
# Limits for finding and for detaching a mount; together below 2 s.
_LAZY_FIND_SECONDS, _LAZY_SECONDS = 0.6, 1.2
# How long a mount may be busy: a program that looks at it, such as df, uses it for a moment.
_BUSY_SECONDS, _BUSY_PAUSE = 1.0, 0.02
# Seconds before a copy in another mount namespace counts as permanent; short-lived namespaces also copy all mounts.
_NAMESPACE_SECONDS = 2.0
# from sys/mount.h
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8


def clear_dead_mount(mountpoint: Path) -> bool:
    """Remove a stale cryofs mount from this path, even if it is in use; return True if one was removed.

    Raises
    ------
    MountError
        If it cannot be removed, for example because another user mounted it, or a mount there does not respond.
    """
    dead = is_dead(mountpoint)
    if dead:
        unmount(mountpoint, lazy=True, seconds=_UNMOUNT_SECONDS)
    return dead


def unmount(mountpoint: Path, *, lazy: bool = False, seconds: float | None = None) -> None:
    """Unmount; wait until the mount is removed, and until its process has ended unless it serves other mounts.

    Parameters
    ----------
    lazy : bool
        Detach the mount even if it is in use, and do not wait for the process, which ends when the last program has
        closed its files.
    seconds : float or None
        Limit for removing the mount; by default 30 s, and 1.2 s if it is detached.

    Raises
    ------
    MountError
        If there is no cryofs mount at this path, or the mount is in use.
    """
    mountpoint = place_of(mountpoint, _LAZY_FIND_SECONDS if lazy else ANSWER_SECONDS)
    mount = mount_at(mountpoint)
    if mount is None:
        raise MountError(f"{mountpoint}: not a cryofs mount; list mounts with findmnt -t {FILE_SYSTEM_TYPE}")
    if mount.user not in (None, os.geteuid()) and os.geteuid() != 0:
        owner = _user_name(mount.user)
        raise MountError(f"{mountpoint}: mounted by another user ({owner}); unmount it as that user or as root")
    process = None if lazy or _is_elsewhere(mount) else _only_serving(mountpoint)
    entry = _bdi_entry(mount)
    _remove(mountpoint, lazy, seconds or (_LAZY_SECONDS if lazy else _UNMOUNT_SECONDS))
    began = time.monotonic()
    while _is_there(mount) or (process is not None and _runs(process)):
        passed = time.monotonic() - began
        if passed > _NAMESPACE_SECONDS and entry is not None and _bdi_entry(mount) == entry:
            # also mounted in another mount namespace, so its process continues
            process = None
        if passed > _UNMOUNT_SECONDS:
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


def _remove(mountpoint: Path, lazy: bool, seconds: float) -> None:
    """Remove the topmost mount on a mountpoint."""
    until = time.monotonic() + _BUSY_SECONDS
    try:
        while (
            (reason := limited.run(partial(_error_of_removing, mountpoint, lazy), seconds)) is not None
            and os.strerror(errno.EBUSY) in reason
            and time.monotonic() < until
        ):
            time.sleep(_BUSY_PAUSE)
    except TimeoutError:
        raise MountError(
            f"{mountpoint}: unmounting did not finish within {seconds:g} s; check that the storage of the folders "
            "above it responds, then retry"
        ) from None
    if reason is not None:
        raise MountError(
            f"{mountpoint}: {reason}; stop the programs that use it (fuser -vm {mountpoint}) and retry, "
            "or detach it now and let open files finish (--lazy)"
        )


def _error_of_removing(mountpoint: Path, lazy: bool) -> str | None:
    """Remove a mount, and return the reason why that is not possible, or None; may wait for the folders above."""
    tool = shutil.which("fusermount3")
    if tool is None:
        # umount(8) would access the mount
        c_library = ctypes.CDLL(None, use_errno=True)
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        failed = c_library.umount2(os.fsencode(mountpoint), flags)
        return os.strerror(ctypes.get_errno()) if failed else None
    command = [tool, "-u", *(["-z"] if lazy else []), "--", str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", check=False)
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.strip().splitlines()[-1:]), "unmounting failed")


def _only_serving(mountpoint: Path) -> int | None:
    """Return the process ID of a mount, or None if it is not visible, does not respond or serves other mounts."""
    try:
        process = ask(mountpoint, PROCESS_ATTRIBUTE)
    except TimeoutError:
        text = f"{mountpoint}: the mount does not respond within {ANSWER_SECONDS:g} s; unmounting without its process"
        print(printable(f"cryofs: {text}"), file=sys.stderr)
        return None
    except OSError:
        return None
    # a number of another namespace would be that of an unrelated process
    if process["pid_namespace"] is None or process["pid_namespace"] != pid_namespace():
        return None
    return int(process["pid"]) if _connections(process["pid"]) == 1 else None


def _connections(pid: int) -> int:
    """Return the number of open FUSE connections of a process; 0 for a process that this user may not inspect."""
    return len(descriptors_of(PROC / str(pid), FUSE_DEVICE))


def _user_name(number: int | None) -> str:
    try:
        return pwd.getpwuid(number or 0).pw_name
    except KeyError:
        return str(number)


def _runs(pid: int) -> bool:
    state = process_state(PROC / str(pid))
    return state is not None and state.letter != "Z"
