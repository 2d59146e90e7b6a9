"""Limits of this process for memory, cores and open files, set by the machine, control groups and process limits.

The values come from /proc and /sys; lines that do not follow proc(5) are skipped. `root` is the folder that contains
/proc and /sys, so that tests can pass a simulated machine.
"""

import contextlib
import functools
import math
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
# Fraction of the memory for the cache; the rest is for the mount itself and its readers.
_CACHE_SHARE = 1 / 4
_SMALLEST_CACHE = 512 << 20
_LARGEST_CACHE = 16 << 30
_LARGEST_CACHE_SHARE = 1 / 2
_MEMORY_TOTAL = re.compile(r"MemTotal:\s*([1-9]\d*) kB")


def default_cache_size(root: Path = ROOT) -> int:
    """Return the default size in bytes of the cache of decoded frames.

    The default is a quarter of the usable memory, from 512 MiB to 16 GiB, but at most half of the usable memory.
    """
    memory = usable_memory(root)
    wanted = min(max(memory * _CACHE_SHARE, _SMALLEST_CACHE), _LARGEST_CACHE)
    return int(min(wanted, memory * _LARGEST_CACHE_SHARE))


def usable_memory(root: Path = ROOT) -> int:
    """Return the memory in bytes that this process may use."""
    return min(memory_limits(root).values())


def memory_limits(root: Path = ROOT) -> dict[str, int]:
    """Return the memory limits of this process in bytes, by the origin of the limit."""
    limits = {"the machine": _machine_memory(root)}
    groups = [
        *_numbers(_group_files(root, "", "memory.max"), 1),
        *_numbers(_group_files(root, "memory", "memory.limit_in_bytes"), 1),
    ]
    if groups:
        limits["its control group"] = min(first for first, *_ in groups)
    with contextlib.suppress(OSError):
        if (own := process_limit("Max address space", root)) is not None:
            limits["its limit of address space"] = own
    return limits


def task_limit(root: Path = ROOT) -> int | None:
    """Return the smallest limit of processes and threads that applies to this process, or None if there is none.

    Processes that run already count towards it.
    """
    groups = [
        *_numbers(_group_files(root, "", "pids.max"), 1),
        *_numbers(_group_files(root, "pids", "pids.max"), 1),
    ]
    limits = [first for first, *_ in groups]
    with contextlib.suppress(OSError):
        if (own := process_limit("Max processes", root)) is not None:
            limits.append(own)
    return min(limits, default=None)


def _machine_memory(root: Path) -> int:
    """Return the memory of the machine in bytes, from /proc/meminfo or else from the C library."""
    for line in _lines(root / "proc/meminfo"):
        if match := _MEMORY_TOTAL.match(line):
            return int(match[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def process_limit(name: str, root: Path = ROOT, *, hard: bool = False) -> int | None:
    """Return a limit of this process by the name in /proc/self/limits, or None if there is no limit.

    Parameters
    ----------
    hard : bool
        Return the hard limit, up to which the process may raise the soft limit, instead of the soft limit in effect.
    """
    for line in system_text(root / "proc/self/limits").split("\n"):
        columns = line.removeprefix(name).split()
        if line.startswith(name) and len(columns) > 1 and columns[hard].isdecimal():
            return int(columns[hard])
    return None


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard limit.

    Most systems set a soft limit of 1024, because of programs that use select(2). A mount does not use select, and
    needs a descriptor for each movie that a program opens.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # the kernel rejects "unlimited"; the soft limit is then unchanged
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@functools.cache
def usable_cores(root: Path = ROOT) -> int:
    """Return the number of cores that affinity and CPU quotas of control groups allow; the result is cached."""
    times = [
        *_numbers(_group_files(root, "", "cpu.max"), 2),
        *_numbers(_group_files(root, "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us"), 2),
    ]
    cores = len(os.sched_getaffinity(0))
    return min([cores, *(math.ceil(quota / period) for quota, period in times)])


def _group_files(root: Path, controller: str, *names: str) -> Iterator[str]:
    """Yield the joined contents of some files in each control group of this process, from the innermost group outwards.

    Parameters
    ----------
    controller : str
        Name of the controller of version 1, or an empty string for version 2.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        if not path.startswith("/") or controller not in controllers.split(","):
            continue
        mounts = root / "sys/fs/cgroup"
        # if version 1 is mounted, version 2 has a separate folder
        folder_name = controller or "unified"
        mount = mounts / folder_name if controller or (mounts / folder_name).is_dir() else mounts
        # in a container, the path may be that of the host or lead outside; the container's own group is then outermost
        inner = PurePosixPath(path.lstrip("/"))
        group = mount if ".." in inner.parts else mount / inner
        for folder in (group, *group.parents):
            # the outermost group of the machine has no limits, and a container hides some groups
            with contextlib.suppress(OSError):
                yield " ".join(system_text(folder / name) for name in names)
            if folder == mount:
                break


def _numbers(contents: Iterator[str], count: int) -> Iterator[list[int]]:
    """Yield the contents that consist of `count` positive numbers; a word, -1 or 0 stands for no limit."""
    for content in contents:
        words = content.split()
        if len(words) == count and all(word.isdecimal() and int(word) > 0 for word in words):
            yield [int(word) for word in words]


def system_text(path: Path) -> str:
    """Return the text of a system file; bytes that are not UTF-8 are kept as surrogates."""
    return os.fsdecode(path.read_bytes())


def _lines(path: Path) -> list[str]:
    """Return the lines of a system file, or an empty list if it is not readable."""
    try:
        return system_text(path).split("\n")
    except OSError:
        return []
