"""Mounting an archive with cryofs, and what others read from with theirs."""

import contextlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import CRYOFS, run
from cryofs.fuse.control import FACTS_ATTRIBUTE

RATARMOUNT = (sys.executable, "-m", "ratarmount")


def missing(*programs: str) -> str | None:
    """Which of some programs is not installed, in words; None where all are."""
    absent = [program for program in programs if not shutil.which(program)]
    return f"{absent[0]} is not installed" if absent else None


def no_ratarmount() -> str | None:
    """Why ratarmount cannot be used, None where it can."""
    return None if importlib.util.find_spec("ratarmount") else "ratarmount is not installed"


def no_kernel_squashfs() -> str | None:
    """Why the kernel's squashfs cannot be used, None where it can."""
    return missing("mksquashfs") or (None if os.geteuid() == 0 else "only root may mount squashfs by the kernel")


def pid_of(mount: Path) -> int:
    """The process of a mount of cryofs."""
    return int(json.loads(os.getxattr(mount, FACTS_ATTRIBUTE))["pid"])


def peak_memory(mount: Path) -> int:
    """The most memory that a mount of cryofs has taken, in bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid_of(mount)}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


@contextlib.contextmanager
def cryofs(archive: Path, mount: Path, *options: str) -> Iterator[float]:
    """A mount of an archive; gives the seconds that mounting took, as all of these do."""
    with _mounted([*CRYOFS, "mount", archive, mount, *options], mount, [*CRYOFS, "umount", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def kernel_squashfs(image: Path, mount: Path) -> Iterator[float]:
    """A squashfs image, mounted by the kernel."""
    with _mounted(["mount", "-t", "squashfs", "-o", "loop,ro", image, mount], mount, ["umount", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def squashfuse(image: Path, mount: Path) -> Iterator[float]:
    """A squashfs image, mounted by squashfuse."""
    with _mounted(["squashfuse", image, mount], mount, ["fusermount3", "-u", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def ratarmount(packed: Sequence[Path], mount: Path) -> Iterator[float]:
    """Compressed files, mounted by ratarmount; the first time makes an index beside each."""
    with _mounted([*RATARMOUNT, *packed, mount], mount, ["fusermount3", "-u", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def _mounted(command: Sequence[str | Path], mount: Path, unmount: Sequence[str | Path]) -> Iterator[float]:
    mount.mkdir(exist_ok=True)
    seconds = run(command, mount.parent).seconds
    try:
        yield seconds
    finally:
        run(unmount, mount.parent)
