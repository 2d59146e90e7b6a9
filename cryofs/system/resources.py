"""What this process may use of the machine: memory, cores, open files; by the machine, its control groups and limits.

All is read from /proc and /sys; lines that are not as documented are skipped. `root` is the folder that holds them,
another one than / in tests.
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
# The cache is not all that a mount and its readers need.
_CACHE_SHARE = 1 / 4
_SMALLEST_CACHE = 512 << 20
_LARGEST_CACHE = 16 << 30
_LARGEST_CACHE_SHARE = 1 / 2
_MEMORY_TOTAL = re.compile(r"MemTotal:\s*([1-9]\d*) kB")


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


def _machine_memory(root: Path) -> int:
    """Bytes of memory of the machine, by /proc/meminfo, or by the C library where that table has no usable line."""
    for line in _lines(root / "proc/meminfo"):
        if match := _MEMORY_TOTAL.match(line):
            return int(match[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def process_limit(name: str, root: Path = ROOT, *, hard: bool = False) -> int | None:
    """Return a limit of this process by its name in /proc/self/limits, or None if there is none.

    Parameters
    ----------
    hard : bool
        The hard limit, up to which the process may raise its limit, instead of the soft one that is in force.
    """
    for line in system_text(root / "proc/self/limits").split("\n"):
        columns = line.removeprefix(name).split()
        if line.startswith(name) and len(columns) > 1 and columns[hard].isdecimal():
            return int(columns[hard])
    return None


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one.

    Most systems set a soft limit of 1024 for programs that use select(2). A mount does not, and each movie that a
    program opens takes a descriptor of the mount.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # the kernel refuses "unlimited"; the soft limit then stays as it is
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@functools.cache
def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may run on, or as many as its control groups let it use in time; found out once."""
    times = [
        *_numbers(_group_files(root, "", "cpu.max"), 2),
        *_numbers(_group_files(root, "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us"), 2),
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
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        if not path.startswith("/") or controller not in controllers.split(","):
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
                yield " ".join(system_text(folder / name) for name in names)
            if folder == mount:
                break


def _numbers(contents: Iterator[str], count: int) -> Iterator[list[int]]:
    """Yield those contents that are so many positive numbers; a word, -1 or 0 stands for no limit."""
    for content in contents:
        words = content.split()
        if len(words) == count and all(word.isdecimal() and int(word) > 0 for word in words):
            yield [int(word) for word in words]


def system_text(path: Path) -> str:
    """Return the text of a table of the system; names in it may hold any bytes."""
    return os.fsdecode(path.read_bytes())


def _lines(path: Path) -> list[str]:
    """Return the lines of a table of the system, none if it cannot be read."""
    try:
        return system_text(path).split("\n")
    except OSError:
        return []
