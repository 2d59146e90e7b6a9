"""Running two sides of a comparison in turn, and printing what came out."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Comparison:
    """Runs commands in a folder.

    Parameters
    ----------
    folder : Path
        Where movies and results are kept.
    runs : int
        How often each side of a comparison runs, in turn with the other.
    """

    def __init__(self, folder: Path, runs: int):
        self.folder = folder
        self.runs = runs

    def in_turn(self, ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
        """Median seconds of two actions, run in turn."""
        return self.medians(lambda: timed(ours), lambda: timed(theirs))

    def medians(self, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
        """Medians of what two functions give, called in turn."""
        pairs = [(ours(), theirs()) for _ in range(self.runs)]
        return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)

    def timed(self, *command: str | Path) -> float:
        """Seconds that a command takes."""
        return timed(lambda: self.run(*command))

    def cryofs(self, *arguments: str | Path, fresh: Path | None = None) -> None:
        """Run a command of cryofs, after removing what stands at `fresh`."""
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
        self.run(sys.executable, "-m", "cryofs", *arguments)

    def run(self, *command: str | Path) -> None:
        """Run a command, without its output."""
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(action: Callable[[], None]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def drop_caches(path: Path) -> None:
    """Have the kernel forget the pages of a file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def percent(part: int, whole: int) -> str:
    """A share of the original size."""
    return f"{100 * part / whole:.2f} %"


def row(*cells: str) -> None:
    """Print a row of the table."""
    print("| " + " | ".join(cells) + " |", flush=True)
