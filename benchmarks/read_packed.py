"""Read packed movies through a mount, against the programs that unpack them.

`python -m benchmarks.read_packed` makes a movie of counts, packs it with each program, and prints a table: the speed of
`PROGRAM -dc`, of a read in a new mount, which unpacks the file twice, of a read in a mount that has the index, and the
mean time of reads of a MiB at random places. Speeds are in MB per second, and in brackets in MB per second of processor
time, which other programs on the machine change little. The packed files are in the page cache.
"""

import argparse
import contextlib
import os
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks import mounts
from benchmarks.markdown import table
from benchmarks.measure import warm
from benchmarks.simulate import header

PROGRAMS = {
    "bzip2": ("bz2", "bzip2 -c"),
    "gzip": ("gz", "gzip -c"),
    "xz": ("xz", "xz -1 -T1 -c"),
    "xz -T2": ("xz", "xz -1 -T2 --block-size=16MiB -c"),
    "zstd": ("zst", "zstd -q -c"),
}
_SHAPE = (1024, 2048)
_READS, _READ_BYTES = 20, 1 << 20


def pack(way: str, movie: Path, folder: Path) -> Path:
    """Return the packed movie, which is made if it is missing."""
    suffix, command = PROGRAMS[way]
    packed = folder / way.replace(" ", "") / f"movie.mrc.{suffix}"
    if not packed.exists():
        packed.parent.mkdir()
        with packed.open("wb") as file:
            subprocess.run([*command.split(), movie], stdout=file, check=True)
    return packed


@dataclass
class Cost:
    """Seconds, and seconds of processor time, of a block."""

    seconds: float = 0.0
    core_seconds: float = 0.0


@contextlib.contextmanager
def costing(core_seconds: Callable[[], float]) -> Iterator[Cost]:
    """Yield the cost of a block, known at its end; the function returns the processor time that was used so far."""
    cost = Cost()
    began, before = time.monotonic(), core_seconds()
    yield cost
    cost.seconds, cost.core_seconds = time.monotonic() - began, core_seconds() - before


def of_children() -> float:
    """Return the processor time of programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(way: str, movie: Path, packed: Path, mount: Path) -> list[str]:
    """Return the row of a program."""
    warm([packed])
    size = movie.stat().st_size
    costs = []
    with costing(of_children) as cost:
        subprocess.run([way.split()[0], "-dc", packed], stdout=subprocess.DEVNULL, check=True)
    costs.append(cost)
    for _ in range(2):
        with mounts.cryofs_at_rest(packed.parent, mount):
            process = psutil.Process(mounts.pid_of(mount))
            with costing(lambda: sum(process.cpu_times()[:2])) as cost:  # noqa: B023 - used in this turn
                subprocess.run(["cmp", mount / "movie.mrc", movie], check=True)
            costs.append(cost)
    with mounts.cryofs_at_rest(packed.parent, mount):
        seconds = _random_reads(mount / "movie.mrc", size)
    share = f"{packed.stat().st_size / size:.0%}"
    megabytes = size / 1e6
    speeds = (f"{megabytes / each.seconds:.0f} ({megabytes / each.core_seconds:.0f})" for each in costs)
    return [way, share, *speeds, f"{1000 * seconds:.0f}"]


def _random_reads(path: Path, size: int) -> float:
    rng = random.Random(1)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        began = time.monotonic()
        for _ in range(_READS):
            os.pread(descriptor, _READ_BYTES, rng.randrange(size - _READ_BYTES))
        return (time.monotonic() - began) / _READS
    finally:
        os.close(descriptor)


def _write(movie: Path, frames: int) -> None:
    rng = np.random.default_rng(1)
    with movie.open("wb") as file:
        file.write(header((frames, *_SHAPE), 0))
        for _ in range(frames):
            file.write(rng.poisson(1.0, _SHAPE).astype("i1").tobytes())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100, help="frames of 2 MB")
    parser.add_argument("--folder", type=Path, default=Path("packed-movies"), help="where movies are kept")
    parser.add_argument("--prepare", action="store_true", help="only make the movies")
    parser.add_argument("programs", nargs="*", default=list(PROGRAMS))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    movie = arguments.folder / "movie"
    if not movie.exists():
        _write(movie, arguments.frames)
    packed = {way: pack(way, movie, arguments.folder) for way in arguments.programs}
    if arguments.prepare:
        return
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = place
        mount = Path(place) / "mnt"
        mount.mkdir()
        rows = [measure(way, movie, packed[way], mount) for way in arguments.programs]
    heads = ["program", "packed size", "`-dc`", "first read", "later read", "random MiB, ms"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
