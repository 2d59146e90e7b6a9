"""The machine and the program versions of a comparison."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.measure import CORES

_PROGRAMS = {
    "RELION": ("relion_convert_to_tiff", "--version"),
    "Open MPI": ("mpirun", "--version"),
    "zstd": ("zstd", "--version"),
    "bzip2": ("bzip2", "--help"),
    "squashfs-tools": ("mksquashfs", "-version"),
}
_PACKAGES = ("cryofs", "numpy", "imagecodecs", "numba", "ratarmount")


def machine() -> dict[str, str]:
    """Return processor, cores, memory, operating system and date, by name."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model.group(1) if model else platform.machine(),
        "cores": str(CORES),
        "memory": f"{memory / 1e9:.0f} GB",
        "system": f"Linux {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of all installed programs and of the relevant libraries."""
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    found |= {name: _version(command) for name, command in _PROGRAMS.items() if shutil.which(command[0])}
    return found


def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return number.group() if number else "unknown"
