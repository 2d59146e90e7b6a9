"""Functions that mount archives with cryofs, and packed files with other programs."""

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.measure import CRYOFS, run
from cryofs.fuse.control import FACTS_ATTRIBUTE

RATARMOUNT = (sys.executable, "-m", "ratarmount")
# seconds without processor time after which a mount counts as idle
_IDLE_SECONDS = 0.5


def missing(*programs: str) -> str | None:
    """Return a message about the first program that is not installed, or None."""
    absent = [program for program in programs if not shutil.which(program)]
    return f"{absent[0]} is not installed" if absent else None


def no_ratarmount() -> str | None:
    """Return the reason why ratarmount is not available, or None."""
    return None if importlib.util.find_spec("ratarmount") else "ratarmount is not installed"


def no_kernel_squashfs() -> str | None:
    """Return the reason why the kernel's squashfs is not available, or None."""
    return missing("mksquashfs") or (None if os.geteuid() == 0 else "mounting squashfs with the kernel requires root")


def pid_of(mount: Path) -> int:
    """Return the process ID of a cryofs mount."""
    return int(json.loads(os.getxattr(mount, FACTS_ATTRIBUTE))["pid"])


def peak_memory(mount: Path) -> int:
    """Return the peak memory of a cryofs mount in bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid_of(mount)}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


@contextlib.contextmanager
def cryofs(archive: Path, mount: Path, *options: str) -> Iterator[float]:
    """Mount an archive; yield the mount time in seconds, like the functions below."""
    with _mounted([*CRYOFS, "mount", archive, mount, *options], mount, [*CRYOFS, "umount", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def cryofs_at_rest(archive: Path, mount: Path, options: Sequence[str] = ()) -> Iterator[float]:
    """Mount an archive and wait until the mount is idle, because real mounts run for days."""
    with cryofs(archive, mount, *options) as seconds:
        wait_until_idle(mount)
        yield seconds


def wait_until_idle(mount: Path) -> None:
    """Return when the process of a mount uses no processor time."""
    process = psutil.Process(pid_of(mount))
    used = -1.0
    while (now := sum(process.cpu_times()[:2])) > used:
        used = now
        time.sleep(_IDLE_SECONDS)


@contextlib.contextmanager
def kernel_squashfs(image: Path, mount: Path) -> Iterator[float]:
    """Mount a squashfs image with the kernel."""
    with _mounted(["mount", "-t", "squashfs", "-o", "loop,ro", image, mount], mount, ["umount", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def squashfuse(image: Path, mount: Path) -> Iterator[float]:
    """Mount a squashfs image with squashfuse."""
    with _mounted(["squashfuse", image, mount], mount, ["fusermount3", "-u", mount]) as seconds:
        yield seconds


@contextlib.contextmanager
def ratarmount(packed: Sequence[Path], mount: Path) -> Iterator[float]:
    """Mount compressed files with ratarmount, which creates an index next to each file on first use."""
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
