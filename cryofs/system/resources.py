"""What this process may use of the machine: memory, cores, open files; by the machine, its control groups and limits.

All is read from /proc and /sys. `root` is the folder that holds them, another one than / in tests.
"""

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
# The cache is not all that a mount and its readers need.
_CACHE_SHARE = 1 / 4
_SMALLEST_CACHE = 512 << 20
_LARGEST_CACHE = 16 << 30
_LARGEST_CACHE_SHARE = 1 / 2


def default_cache_size(root: Path = ROOT) -> int:
    """Bytes of decoded frames that a mount keeps where nobody says how many.

    A quarter of the memory that may be used, from 512 MiB to 16 GiB, but never more than half of that memory.
    """
    memory = usable_memory(root)
    wanted = min(max(memory * _CACHE_SHARE, _SMALLEST_CACHE), _LARGEST_CACHE)
    return int(min(wanted, memory * _LARGEST_CACHE_SHARE))


def usable_memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may use."""
    return min(memory_limits(root).values())


def memory_limits(root: Path = ROOT) -> dict[str, int]:
    """What bounds the memory of this process, in bytes, by who bounds it."""
    meminfo = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
    limits = {"the machine": int(meminfo["MemTotal"].split()[0]) << 10}
    groups = [
        *_numbers(_group_files(root, "", "memory.max")),
        *_numbers(_group_files(root, "memory", "memory.limit_in_bytes")),
    ]
    if groups:
        limits["its control group"] = min(first for first, *_ in groups)
    if (own := process_limit("Max address space", root)) is not None:
        limits["its limit of address space"] = own
    return limits


def process_limit(name: str, root: Path = ROOT) -> int | None:
    """A limit of this process by its name in /proc/self/limits, as it is in force; None for none."""
    for line in (root / "proc/self/limits").read_text().splitlines():
        if line.startswith(name) and (value := line.removeprefix(name).split()[0]).isdecimal():
            return int(value)
    return None


@functools.cache
def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may run on, or as many as its control groups let it use in time; found out once."""
    times = [
        *_numbers(_group_files(root, "", "cpu.max")),
        *_numbers(_group_files(root, "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us")),
    ]
    cores = len(os.sched_getaffinity(0))
    return min([cores, *(math.ceil(quota / period) for quota, period in times)])


def _group_files(root: Path, controller: str, *names: str) -> Iterator[str]:
    """Contents of files of the control groups of this process, from its own to the outermost; several files joined.

    Parameters
    ----------
    controller : str
        Its name in version 1, nothing in version 2.
    """
    membership = root / "proc/self/cgroup"
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        mounts = root / "sys/fs/cgroup"
        # beside groups of version 1, those of version 2 have a folder of their own
        folder_name = controller or "unified"
        mount = mounts / folder_name if controller or (mounts / folder_name).is_dir() else mounts
        # a container may see the path of its group outside, or one that leads out; its own group is then the outermost
        inner = PurePosixPath(path.lstrip("/"))
        group = mount if ".." in inner.parts else mount / inner
        for folder in (group, *group.parents):
            # the outermost group of the machine has no limits, and others may be hidden
            with contextlib.suppress(OSError):
                yield " ".join((folder / name).read_text() for name in names)
            if folder == mount:
                break


def _numbers(contents: Iterator[str]) -> Iterator[list[int]]:
    """Those contents that are numbers only, as a limit that is none is a word, or -1."""
    for content in contents:
        if content.split() and all(word.isdecimal() for word in content.split()):
            yield [int(word) for word in content.split()]
