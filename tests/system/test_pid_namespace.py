"""The PID namespace of a process."""

import os
from pathlib import Path

from cryofs.system.pid_namespace import pid_namespace


def test_this_namespace() -> None:
    assert pid_namespace() == Path("/proc/self/ns/pid").stat().st_ino


def test_numbers_of_another_namespace_are_not_compared(tmp_path: Path) -> None:
    """As in a process that unshare(1) started without --mount-proc, or one without /proc."""
    assert pid_namespace(tmp_path) is None
    (tmp_path / "self").symlink_to(str(os.getpid() + 1))
    (tmp_path / str(os.getpid() + 1) / "ns").mkdir(parents=True)
    (tmp_path / str(os.getpid() + 1) / "ns" / "pid").touch()
    assert pid_namespace(tmp_path) is None
    (tmp_path / "self").unlink()
    (tmp_path / str(os.getpid() + 1)).rename(tmp_path / str(os.getpid()))
    (tmp_path / "self").symlink_to(str(os.getpid()))
    assert pid_namespace(tmp_path) == (tmp_path / str(os.getpid()) / "ns" / "pid").stat().st_ino
