"""Query cryofs mounts from other processes. No query waits longer than a time limit, because a mount may be stuck.

Imports no FUSE library, so that `cryofs umount` and `cryofs stats` start quickly.
"""

import errno
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from cryofs.errors import MountError
from cryofs.storage import extended_attributes
from cryofs.system import limited
from cryofs.system.mount_table import Mount, mount_table, resolved

FUSE_DEVICE = Path("/dev/fuse")
FILE_SYSTEM_TYPE = "fuse.cryofs"
ATTRIBUTE_PREFIX = extended_attributes.OWN
FACTS_ATTRIBUTE = ATTRIBUTE_PREFIX + "facts"
# the process of the mount, also while the archive is being loaded
PROCESS_ATTRIBUTE = ATTRIBUTE_PREFIX + "process"
# setting it asks a writable mount to begin at once with movies that wait for a time to pass
SETTLE_ATTRIBUTE = ATTRIBUTE_PREFIX + "settle_now"
# Even a busy mount responds within milliseconds, because queries do not wait for decodes.
ANSWER_SECONDS = 5.0
# Errors of a stale mount, and of a request that was pending when its process was killed.
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def is_mounted(mountpoint: Path) -> bool:
    """Return True if a cryofs mount, live or stale, is at this path, according to the mount table."""
    return mount_at(mountpoint) is not None


def device_number(mountpoint: Path) -> str | None:
    """Return the device number (``major:minor``) of the cryofs mount at this path, or None."""
    mount = mount_at(mountpoint)
    return mount.device if mount else None


def mount_at(mountpoint: Path) -> Mount | None:
    """Return the topmost cryofs mount whose mountpoint is this path, or None."""
    place, mount = resolved(mountpoint.absolute(), mount_table(), FILE_SYSTEM_TYPE)
    return mount if mount and mount.place == place else None


def mount_holding(path: Path) -> Mount | None:
    """Return the cryofs mount that contains this path, or None."""
    return resolved(path.absolute(), mount_table(), FILE_SYSTEM_TYPE)[1]


def place_of(mountpoint: Path, seconds: float = ANSWER_SECONDS) -> Path:
    """Return a mountpoint as listed in the mount table, with links resolved but without accessing the mount.

    Raises
    ------
    MountError
        Storage on the way to the mountpoint does not respond.
    """
    mounts = mount_table()
    absolute = mountpoint.absolute()
    if any(mount.place == absolute for mount in mounts):
        return absolute
    try:
        return limited.run(lambda: resolved(absolute, mounts, FILE_SYSTEM_TYPE)[0], seconds)
    except TimeoutError:
        raise MountError(
            f"{mountpoint}: storage did not respond within {seconds:g} s; pass the path as in findmnt -t "
            f"{FILE_SYSTEM_TYPE}, or use another mountpoint"
        ) from None


def ask(path: Path, attribute: str, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
    """Return an attribute of a mount that contains JSON.

    Raises
    ------
    OSError
        The path does not exist, is on another file system, or belongs to a stale mount.
    TimeoutError
        The mount does not respond.
    """
    return dict(json.loads(limited.run(partial(os.getxattr, path, attribute), seconds)))


def is_dead(mountpoint: Path) -> bool:
    """Return True if a stale cryofs mount is at this path."""
    if not is_mounted(mountpoint):
        return False
    try:
        ask(mountpoint, PROCESS_ATTRIBUTE)
    except TimeoutError as error:
        raise stuck(mountpoint) from error
    except OSError as error:
        return error.errno in DEAD
    return False


def check_responds(path: Path) -> None:
    """Check that the cryofs mount that contains a path responds; paths on other file systems are not accessed.

    Raises
    ------
    MountError
        The mount does not respond.
    """
    mount = mount_holding(path)
    if mount is None:
        return
    try:
        ask(mount.place, PROCESS_ATTRIBUTE)
    except TimeoutError as error:
        raise stuck(mount.place) from error
    except OSError:
        # reported by the program that uses the path
        return


def stuck(mountpoint: Path, seconds: float = ANSWER_SECONDS) -> MountError:
    """Return the error for a mount that does not respond."""
    return MountError(
        f"{mountpoint}: the mount does not respond within {seconds:g} s; see cryofs doctor for the cause, or detach it "
        f"with cryofs umount --lazy {mountpoint}"
    )


def mount_facts(path: Path) -> dict[str, Any] | None:
    """Return the status of the mount at this path, or None if it is not a cryofs mount.

    Raises
    ------
    MountError
        If the mount is stale or does not respond, or is not accessible to the current user.
    """
    if mount_holding(path) is None:
        return None
    try:
        return ask(path, FACTS_ATTRIBUTE)
    except TimeoutError as error:
        raise stuck(path) from error
    except OSError as error:
        if error.errno in DEAD:
            raise MountError(
                f"{path}: stale mount, its process has ended; remove it with cryofs umount {path}"
            ) from error
        if error.errno == errno.EACCES and is_mounted(path):
            raise MountError(
                f"{path}: mounted by another user, without access for others; mount it with -o allow_other"
            ) from error
        return None


def settle_now(mountpoint: Path, seconds: float = ANSWER_SECONDS) -> None:
    """Ask a writable mount to begin at once with movies that wait for a time to pass.

    Raises
    ------
    MountError
        The mount does not respond, or refuses the request.
    """
    try:
        limited.run(partial(os.setxattr, mountpoint, SETTLE_ATTRIBUTE, b""), seconds)
    except TimeoutError as error:
        raise stuck(mountpoint) from error
    except OSError as error:
        raise MountError(f"{mountpoint}: request refused ({error.strerror}); unmount without --wait") from error


def file_facts(path: Path) -> dict[str, Any] | None:
    """Return details of a movie as its mount shows it, or None if the path has none.

    Waits for the mount without a limit; see `check_responds`.

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
