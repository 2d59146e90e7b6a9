"""MRC movies in `make bench`: gain estimation, archiving and reading, on three full-size gain-normalised K2 movies."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Comparison, drop_caches, percent, row
from benchmarks.simulate import Detector, write_movie

MOVIES = 3
FRAMES = 40


class MrcComparison(Comparison):
    """The comparisons of MRC movies, all on the same movies."""

    def __init__(self, folder: Path, runs: int):
        super().__init__(folder, runs)
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
            (self.folder / f"{name}.star").write_text("data_\n\nloop_\n_rlnMicrographMovieName #1\n" + "\n".join(lines))

    def estimating(self) -> None:
        """Gain estimation: 40 frames of one movie for both."""
        target = self.folder / "estimate"
        ours, theirs = self.in_turn(
            lambda: self.cryofs("estimate-gain", "one.star", "-o", target, fresh=target),
            lambda: self._run_relion("--i", "one.star", "--estimate_gain", fresh=True),
        )
        row("gain estimation, 40 frames", f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster")
        # RELION's reference for converting, from as many frames as it is given
        self._run_relion("--i", "all.star", "--estimate_gain", fresh=True)

    def compressing_one(self) -> None:
        """One movie with a known gain reference."""
        movie, target = "session/movie-0.mrc", self._archive
        ours, theirs = self.in_turn(
            lambda: self.cryofs("compress", movie, "-o", target, "--gain", self._gain, fresh=target),
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

        ours, theirs = self.in_turn(
            lambda: self.cryofs("compress", "session", "-o", self._archive, fresh=self._archive), theirs_in_all
        )
        row("compress three movies, gain unknown", f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster")

    def reading(self) -> None:
        """Reading a whole movie through the mount with empty caches, against the file itself and compressed peers."""
        if not self._archive.exists():
            self.cryofs("compress", "session", "-o", self._archive)
        size = (self._session / "movie-0.mrc").stat().st_size / 1e9
        peers: dict[str, Callable[[], float]] = {
            "the original file": lambda: self._timed_cat(self._session / "movie-0.mrc")
        }
        if shutil.which("zstd"):
            packed = self.folder / "movie-0.mrc.zst"
            if not packed.exists():
                self.run("zstd", "-q", "-f", "-3", "-T0", self._session / "movie-0.mrc", "-o", packed)
            peers["zstd -dc"] = lambda: self.timed("zstd", "-dc", packed)
        if shutil.which("mksquashfs") and shutil.which("squashfuse"):
            image = self.folder / "session.squashfs"
            if not image.exists():
                self.run("mksquashfs", self._session / "movie-0.mrc", image, "-comp", "zstd", "-b", "1M")
            peers["squashfuse (zstd)"] = lambda: self._read_through_squashfuse(image)
        for name, peer in peers.items():
            ours, theirs = self.medians(self._read_through_mount, peer)
            row(
                f"read a movie, cold, against {name}",
                f"{size / ours:.2f} GB/s",
                f"{size / theirs:.2f} GB/s",
                f"{theirs / ours:.2f} x",
            )

    def _read_through_mount(self) -> float:
        drop_caches(self._archive / "movie-0.mrc.tif")
        mount = self.folder / "mount"
        mount.mkdir(exist_ok=True)
        self.cryofs("mount", self._archive, mount)
        try:
            return self._timed_cat(mount / "movie-0.mrc")
        finally:
            self.cryofs("umount", mount)

    def _read_through_squashfuse(self, image: Path) -> float:
        mount = self.folder / "squashfs"
        mount.mkdir(exist_ok=True)
        drop_caches(image)
        self.run("squashfuse", image, mount)
        try:
            return self.timed("cat", mount / "movie-0.mrc")
        finally:
            self.run("fusermount3", "-u", mount)

    def _timed_cat(self, path: Path) -> float:
        drop_caches(path)
        return self.timed("cat", path)

    def _run_relion(self, *arguments: str | Path, fresh: bool = False) -> None:
        if fresh:
            shutil.rmtree(self._relion, ignore_errors=True)
        self._relion.mkdir(exist_ok=True)
        cores = str(len(os.sched_getaffinity(0)))
        self.run("relion_convert_to_tiff", "--o", "relion/", "--j", cores, *arguments)

    def _relion_size(self) -> int:
        return (self._relion / "session" / "movie-0.tif").stat().st_size
