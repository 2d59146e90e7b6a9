"""Read packed movies through a mount, against the programs that unpack them.

`python -m benchmarks.read_packed` makes a movie of counts, packs it with each program, and prints a table: the speed of
`PROGRAM -dc`, of a copy from a new mount, which unpacks the file twice, of a copy from a mount that has the index, and
the mean time of reads of a MiB at random places. The packed files are in the page cache, the unpacked ones are not.
"""

import argparse
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

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


def measure(way: str, movie: Path, folder: Path) -> list[str]:
    """Return the row of a program."""
    suffix, command = PROGRAMS[way]
    packed = folder / "archive" / f"movie.mrc.{suffix}"
    packed.parent.mkdir()
    with packed.open("wb") as file:
        subprocess.run([*command.split(), movie], stdout=file, check=True)
    warm([packed])
    size = movie.stat().st_size
    began = time.monotonic()
    subprocess.run([way.split()[0], "-dc", packed], stdout=subprocess.DEVNULL, check=True)
    speeds = [size / (time.monotonic() - began)]
    mount = folder / "mnt"
    mount.mkdir()
    for _ in range(2):
        with mounts.cryofs_at_rest(packed.parent, mount):
            began = time.monotonic()
            subprocess.run(["cmp", mount / "movie.mrc", movie], check=True)
            speeds.append(size / (time.monotonic() - began))
    with mounts.cryofs_at_rest(packed.parent, mount):
        seconds = _random_reads(mount / "movie.mrc", size)
    share = f"{packed.stat().st_size / size:.0%}"
    return [way, share, *(f"{speed / 1e6:.0f} MB/s" for speed in speeds), f"{1000 * seconds:.0f} ms"]


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100, help="frames of 2 MB")
    parser.add_argument("programs", nargs="*", default=list(PROGRAMS))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        movie = Path(place) / "movie"
        shape = (arguments.frames, *_SHAPE)
        with movie.open("wb") as file:
            file.write(header(shape, 0))
            rng = np.random.default_rng(1)
            for _ in range(arguments.frames):
                file.write(rng.poisson(1.0, _SHAPE).astype("i1").tobytes())
        os.environ["XDG_CACHE_HOME"] = place
        for number, way in enumerate(arguments.programs):
            folder = Path(place) / str(number)
            folder.mkdir()
            rows.append(measure(way, movie, folder))
    heads = ["program", "packed size", "`-dc`", "first copy", "later copy", "random MiB"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
