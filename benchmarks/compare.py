"""`make bench`: cryofs against relion_convert_to_tiff and against compressed file systems, in the same run.

Times of one machine mean little, so each row gives both sides and their ratio; every figure is the median of a few
runs. Three full-size gain-normalised K2 movies (40 frames of 3710 x 3838, 2.28 GB each) are made first, in a temporary
folder that needs 10 GB; `--folder` keeps them for the next time.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.simulate import Detector, write_movie

MOVIES = 3
FRAMES = 40


def main() -> None:
    """Run the comparisons and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep movies and archives here")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cryofs-bench-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, arguments.runs)
        bench.make_movies()
        print(f"{os.cpu_count()} cores, {arguments.runs} runs each, medians\n")
        print("| what | cryofs | peer | ratio |\n|---|---|---|---|", flush=True)
        if shutil.which("relion_convert_to_tiff"):
            bench.estimating()
            bench.compressing_one()
            bench.compressing_all()
        else:
            print("| (relion_convert_to_tiff is not installed) | | | |")
        bench.reading()


class Bench:
    """The comparisons, all on the same movies.

    Parameters
    ----------
    folder : Path
        Where movies and results are kept.
    runs : int
        How often each side of a comparison runs, in turn with the other.
    """

    def __init__(self, folder: Path, runs: int):
        self._folder = folder
        self._runs = runs
        self._session = folder / "session"
        self._archive = folder / "archive"
        self._relion = folder / "relion"
        self._gain = self._relion / "gain_estimate.bin"

    def make_movies(self) -> None:
        """Write the movies that are not there yet."""
        self._session.mkdir(exist_ok=True)
        detector = Detector.make()
        for number in range(MOVIES):
            path = self._session / f"movie-{number}.mrc"
            if not path.exists():
                write_movie(path, detector, FRAMES, seed=number)
        for name, movies in (("one", 1), ("all", MOVIES)):
            lines = [f"session/movie-{number}.mrc" for number in range(movies)]
            (self._folder / f"{name}.star").write_text(
                "data_\n\nloop_\n_rlnMicrographMovieName #1\n" + "\n".join(lines)
            )

    def estimating(self) -> None:
        """Gain estimation: 40 frames of one movie for both."""
        target = self._folder / "estimate"
        ours, theirs = self._in_turn(
            lambda: self._cryofs("estimate-gain", "one.star", "-o", target, fresh=target),
            lambda: self._run_relion("--i", "one.star", "--estimate_gain", fresh=True),
        )
        row("gain estimation, 40 frames", f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster")
        # RELION's reference for converting, from as many frames as it is given
        self._run_relion("--i", "all.star", "--estimate_gain", fresh=True)

    def compressing_one(self) -> None:
        """One movie with a known gain reference."""
        movie, target = "session/movie-0.mrc", self._archive
        ours, theirs = self._in_turn(
            lambda: self._cryofs("compress", movie, "-o", target, "--gain", self._gain, fresh=target),
            lambda: self._run_relion("--i", "one.star", "--gain", self._gain),
        )
        row("compress one movie, gain known", f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster")
        stored, converted = (self._archive / "movie-0.mrc.tif").stat().st_size, self._relion_size()
        original = (self._session / "movie-0.mrc").stat().st_size
        row("size", percent(stored, original), percent(converted, original), f"{converted / stored:.2f} x smaller")

    def compressing_all(self) -> None:
        """Three movies from nothing: estimation, conversion and, on our side, reading back and comparing."""

        def theirs_in_all() -> None:
            self._run_relion("--i", "all.star", "--estimate_gain", fresh=True)
            self._run_relion("--i", "all.star", "--gain", self._gain)

        ours, theirs = self._in_turn(
            lambda: self._cryofs("compress", "session", "-o", self._archive, fresh=self._archive), theirs_in_all
        )
        row("compress three movies, gain unknown", f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster")

    def reading(self) -> None:
        """Reading a whole movie through the mount with empty caches, against the file itself and compressed peers."""
        if not self._archive.exists():
            self._cryofs("compress", "session", "-o", self._archive)
        size = (self._session / "movie-0.mrc").stat().st_size / 1e9
        peers: dict[str, Callable[[], float]] = {
            "the original file": lambda: self._timed_cat(self._session / "movie-0.mrc")
        }
        if shutil.which("zstd"):
            packed = self._folder / "movie-0.mrc.zst"
            if not packed.exists():
                self._run("zstd", "-q", "-f", "-3", "-T0", self._session / "movie-0.mrc", "-o", packed)
            peers["zstd -dc"] = lambda: self._timed("zstd", "-dc", packed)
        if shutil.which("mksquashfs") and shutil.which("squashfuse"):
            image = self._folder / "session.squashfs"
            if not image.exists():
                self._run("mksquashfs", self._session / "movie-0.mrc", image, "-comp", "zstd", "-b", "1M")
            peers["squashfuse (zstd)"] = lambda: self._read_through_squashfuse(image)
        for name, peer in peers.items():
            ours, theirs = self._medians(self._read_through_mount, peer)
            row(
                f"read a movie, cold, against {name}",
                f"{size / ours:.2f} GB/s",
                f"{size / theirs:.2f} GB/s",
                f"{theirs / ours:.2f} x",
            )

    def _read_through_mount(self) -> float:
        drop_caches(self._archive / "movie-0.mrc.tif")
        mount = self._folder / "mount"
        mount.mkdir(exist_ok=True)
        self._cryofs("mount", self._archive, mount)
        try:
            return self._timed_cat(mount / "movie-0.mrc")
        finally:
            self._cryofs("umount", mount)

    def _read_through_squashfuse(self, image: Path) -> float:
        mount = self._folder / "squashfs"
        mount.mkdir(exist_ok=True)
        drop_caches(image)
        self._run("squashfuse", image, mount)
        try:
            return self._timed("cat", mount / "movie-0.mrc")
        finally:
            self._run("fusermount3", "-u", mount)

    def _in_turn(self, ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
        return self._medians(lambda: timed(ours), lambda: timed(theirs))

    def _medians(self, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
        pairs = [(ours(), theirs()) for _ in range(self._runs)]
        return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)

    def _timed_cat(self, path: Path) -> float:
        drop_caches(path)
        return self._timed("cat", path)

    def _timed(self, *command: str | Path) -> float:
        return timed(lambda: self._run(*command))

    def _cryofs(self, *arguments: str | Path, fresh: Path | None = None) -> None:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
        self._run(sys.executable, "-m", "cryofs", *arguments)

    def _run_relion(self, *arguments: str | Path, fresh: bool = False) -> None:
        if fresh:
            shutil.rmtree(self._relion, ignore_errors=True)
        self._relion.mkdir(exist_ok=True)
        cores = str(len(os.sched_getaffinity(0)))
        self._run("relion_convert_to_tiff", "--o", "relion/", "--j", cores, *arguments)

    def _relion_size(self) -> int:
        return (self._relion / "session" / "movie-0.tif").stat().st_size

    def _run(self, *command: str | Path) -> None:
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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


if __name__ == "__main__":
    main()
