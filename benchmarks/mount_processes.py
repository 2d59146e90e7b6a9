"""Processor time and memory of a cryofs mount and the processes that it started."""

from pathlib import Path

import psutil

from benchmarks import mounts
from benchmarks.measure import family, memory_of


class MountProcesses:
    """The process of a mount, and those that it started."""

    def __init__(self, mount: Path):
        self._pid = mounts.pid_of(mount)

    def core_seconds(self) -> float:
        """Return the processor time so far, including that of processes that ended."""
        total = 0.0
        for process in family(self._pid):
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return total

    def memory(self) -> int:
        """Return the memory of all processes together, in bytes; shared pages count once."""
        return sum(map(memory_of, family(self._pid)))
