"""Running commands: how long they take, and how much memory."""

import contextlib
import multiprocessing
import os
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
# pages, and what is remembered of names and attributes
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
# looking more often would itself take time that is measured
_LOOK_SECONDS = 0.25
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Run:
    """A command that ended well.

    Parameters
    ----------
    seconds : float
        From start to end.
    peak_bytes : int
        The most memory of it and all its children together, looked at every now and then; what processes share is
        counted once.
    output : str
        What it printed.
    """

    seconds: float
    peak_bytes: int
    output: str


def run(command: Sequence[str | Path], folder: Path, keep_output: bool = True) -> Run:
    """Run a command in a folder; stop with what it printed where it fails."""
    with tempfile.TemporaryFile() as output:
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
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{text[-2000:]}")
    return Run(seconds, max(peak), text)


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """Memory of a process and its children, in bytes, a figure each time that it is looked at."""
    found = [0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            found.append(sum(map(_memory, _family(pid))))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        ended.set()
        looking.join()


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, OSError):
        return int(process.memory_full_info().pss)
    return 0


def apart(function: Callable[..., _Result], *arguments: object) -> _Result:
    """Call a function in a process of its own, so that this one does not grow."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def warm(paths: Iterable[Path]) -> None:
    """Have the kernel hold the pages of files, and nothing that it has still to write."""
    os.sync()
    # a movie may have several names
    for path in {path.stat().st_ino: path for path in paths}.values():
        with path.open("rb", buffering=0) as file:
            while file.read(_CHUNK):
                pass


def forget(paths: Iterable[Path]) -> None:
    """Have the kernel forget the pages of all files, as root, or else of these files."""
    os.sync()
    try:
        _DROP_CACHES.write_text("3")
    except OSError:
        for path in paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
