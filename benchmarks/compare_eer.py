"""EER in `make bench`: fractions read through the mount, or stored as TIFF, against relion_convert_to_tiff."""

import functools
import json
import os
import shutil
from pathlib import Path

from benchmarks.measure import Comparison, drop_caches, percent, row, timed
from benchmarks.simulate_eer import write_falcon
from cryofs.fuse.control import FACTS_ATTRIBUTE

GROUPINGS = (24, 16, 12, 8)


class EerComparison(Comparison):
    """The comparisons of one full-size Falcon 4 movie, 1,113 frames of 4096 x 4096."""

    def __init__(self, folder: Path, runs: int):
        super().__init__(folder, runs)
        self._movie = folder / "eer" / "falcon.eer"
        self._relion = folder / "relion-eer"
        self._target = folder / "eer-archive"
        self._peak = 0.0

    def make_movie(self) -> None:
        """Write the movie if it is not there yet."""
        self._movie.parent.mkdir(exist_ok=True)
        if not self._movie.exists():
            draft = self._movie.with_suffix(".draft")
            write_falcon(draft)
            draft.rename(self._movie)

    def reading(self) -> None:
        """All fractions of the movie, read from the mount with empty caches, against RELION making its TIFF file."""
        for upsampling, grid in ((1, "4K"), (2, "8K")):
            self._peak = 0.0
            read = functools.partial(self._read_through_mount, f"@up{upsampling}_gr24")
            ours, theirs = self.medians(read, functools.partial(self._convert, 24, upsampling))
            what = f"EER, {grid}, grouping 24: read all fractions, cold"
            row(what, f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster")
            row(f"EER, {grid}: peak memory of the mount", f"{self._peak:.2f} GB", "", "")

    def converting(self) -> None:
        """The same as TIFF files: size and time."""
        size = self._movie.stat().st_size
        for grouping in GROUPINGS:
            archive, convert = functools.partial(self._archive, grouping), functools.partial(self._convert, grouping, 1)
            ours, theirs = self.medians(archive, convert)
            stored, converted = (self._target / "falcon.mrc.tif").stat().st_size, self._converted().stat().st_size
            row(
                f"EER to TIFF, grouping {grouping}", f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f} x faster"
            )
            row("size", percent(stored, size), percent(converted, size), f"{converted / stored:.2f} x smaller")

    def _archive(self, grouping: int) -> float:
        drop_caches(self._movie)
        options = ["--eer", "tiff", "--eer-grouping", str(grouping)]
        return timed(lambda: self.cryofs("compress", self._movie, "-o", self._target, *options, fresh=self._target))

    def _read_through_mount(self, view: str) -> float:
        mount = self.folder / "mount"
        mount.mkdir(exist_ok=True)
        self.cryofs("mount", self._movie.parent, mount)
        try:
            drop_caches(self._movie)
            seconds = self.timed("cat", mount / view / "falcon.mrc")
            pid = json.loads(os.getxattr(mount, FACTS_ATTRIBUTE))["pid"]
            self._peak = max(self._peak, _peak_memory(pid))
            return seconds
        finally:
            self.cryofs("umount", mount)

    def _convert(self, grouping: int, upsampling: int) -> float:
        shutil.rmtree(self._relion, ignore_errors=True)
        self._relion.mkdir()
        drop_caches(self._movie)
        options = ["--eer_grouping", str(grouping), "--eer_upsampling", str(upsampling)]
        movie = str(self._movie.relative_to(self.folder))
        return self.timed("relion_convert_to_tiff", "--i", movie, "--o", f"{self._relion.name}/", *options)

    def _converted(self) -> Path:
        return self._relion / "eer" / "falcon.tif"


def _peak_memory(pid: int) -> float:
    """The most memory that a process took, in GB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9
