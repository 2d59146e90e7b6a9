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
                f"{path}: a dead mount, its process is gone; clear it with cryofs umount {path}"
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
    """Unmount, and wait until mount and process are gone.

    Parameters
    ----------
    lazy : bool
        Take the mount away from its place even if it is in use, and wait for that alone: its process ends when the last
        program that uses it does.

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
    facts = None
    if not lazy:
        with contextlib.suppress(MountError):
            facts = mount_facts(mountpoint)
    tool = shutil.which("fusermount3")
    command = [tool, "-u", *(["-z"] if lazy else [])] if tool else ["umount", *(["-l"] if lazy else [])]
    command += ["--", str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["unmounting failed"]
        raise MountError(
            f"{mountpoint}: {reason[0]}; close what uses it (fuser -vm {mountpoint}), then try again, "
            "or have it vanish for all but those (--lazy)"
        )
    deadline = time.monotonic() + _UNMOUNT_SECONDS
    while is_mounted(mountpoint) or (facts is not None and _runs(facts["pid"])):
        if time.monotonic() > deadline:
            raise MountError(f"{mountpoint}: unmounted, but its process {facts and facts['pid']} is still there")
        time.sleep(0.01)


def _user_name(number: int | None) -> str:
    try:
        return pwd.getpwuid(number or 0).pw_name
    except KeyError:
        return str(number)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
