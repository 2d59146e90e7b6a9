"""What tests of mounts share: the mark of what they need, and queries about a mount."""

import json
import shutil
import time
from pathlib import Path

import psutil
import pytest

from cryofs.storage.archive_lock import LOCK_NAME
from tests.privileges import CAN_USE_FUSE
from tests.support import run_in_process

NEEDS_MOUNTS = [
    pytest.mark.mounted,
    pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount"),
]


def is_gone(pid: int) -> bool:
    """Return True if a process has ended, even if its parent has not waited for it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_unlocked(archive: Path) -> None:
    """Wait until the lock of an archive is released: another mount namespace may have kept a copy of its mount."""
    until = time.monotonic() + 60
    while (archive / LOCK_NAME).exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def archive_copy(session: Path, place: Path) -> Path:
    """Copy the archive of a session to a place where it may be changed."""
    return Path(shutil.copytree(session.with_name("archive"), place, symlinks=True))


def facts_of(mount: Path) -> dict[str, int]:
    """Return the figures of a mount, as `cryofs stats` prints them."""
    facts = json.loads(run_in_process("stats", mount, "--json").stdout)
    figures: dict[str, int] = facts["mount"]
    return figures
