"""Running commands: how long they take, and how much memory."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

CORES = len(os.sched_getaffinity(0))
CRYOFS = (sys.executable, "-m", "cryofs")
_CHUNK = 1 << 24
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Run:
    """A command that ended well.

    Parameters
    ----------
    seconds : float
        From start to end.
    peak_bytes : int
        The most memory of it, or of the largest of its children. It counts from the size of the process that started
        it, so nothing here may grow large.
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
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{text[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024, text)


def apart(function: Callable[..., _Result], *arguments: object) -> _Result:
    """Call a function in a process of its own, so that this one does not grow."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def warm(paths: Iterable[Path]) -> None:
    """Have the kernel hold the pages of files, and nothing that it has still to write."""
    os.sync()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(_CHUNK):
                pass


def drop_caches(path: Path) -> None:
    """Have the kernel forget the pages of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
