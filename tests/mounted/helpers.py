"""Helpers for tests of real mounts."""

import json
import shutil
from pathlib import Path

import psutil

from tests.support import cryofs


def is_gone(pid: int) -> bool:
    """Return True if a process has ended, even if its parent has not waited for it yet."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def copy_of_archive(session: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(session.with_name("archive"), tmp_path / "archive", symlinks=True))


def facts_of(mount: Path) -> dict[str, int]:
    facts = json.loads(cryofs("stats", mount, "--json").stdout)
    figures: dict[str, int] = facts["mount"]
    return figures
