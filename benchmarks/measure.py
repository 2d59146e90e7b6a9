"""Run commands and measure time and memory."""

import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

CORES = len(os.sched_getaffinity(0))
CRYOFS = (sys.executable, "-m", "cryofs")
_CHUNK = 1 << 24
# drop the page cache, and the caches of names and attributes
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
# a shorter interval would distort the measured time
_LOOK_SECONDS = 0.25
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Run:
    """Measurements of a successful command.

    Parameters
    ----------
    seconds : float
        Wall time in seconds.
    peak_bytes : int
        Peak memory in bytes of the process and its children together, sampled periodically; shared memory counts once.
    output : str
        Standard output.
    core_seconds : float
        Processor time in seconds of the process and of the children that it waited for.
    """

    seconds: float
    peak_bytes: int
    output: str
    core_seconds: float


def run(command: Sequence[str | Path], folder: Path, keep_output: bool = True) -> Run:
    """Run a command in a folder; raise an error with its output if it fails."""
    with tempfile.TemporaryFile() as output:
        used = _core_seconds_of_children()
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output if keep_output else subprocess.DEVNULL,
            stderr=output,
        )
        with _watched(process.pid) as peak:
            process.wait()
            seconds = time.perf_counter() - started
        used = _core_seconds_of_children() - used
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{text[-2000:]}")
    return Run(seconds, max(peak), text, used)


def _core_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """Sample the memory of a process and its children in the background; yield the list of samples in bytes."""
    found = [0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            found.append(sum(map(memory_of, family(pid))))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        ended.set()
        looking.join()


def family(pid: int) -> list[psutil.Process]:
    """Return a process and those that it started; none if it has ended."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def memory_of(process: psutil.Process) -> int:
    """Return the memory of a process in bytes, with its share of what it shares; 0 if it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        return int(process.memory_full_info().pss)
    return 0


def apart(function: Callable[..., _Result], *arguments: object) -> _Result:
    """Call a function in a separate process, so that its memory is released."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def warm(paths: Iterable[Path]) -> None:
    """Load files into the page cache, and write all dirty pages to the disk."""
    os.sync()
    # a movie may have several names
    for path in {path.stat().st_ino: path for path in paths}.values():
        with path.open("rb", buffering=0) as file:
            while file.read(_CHUNK):
                pass


def forget(paths: Iterable[Path]) -> None:
    """Drop the page cache of all files as root, otherwise that of these files."""
    os.sync()
    try:
        _DROP_CACHES.write_text("3")
    except OSError:
        for path in paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
