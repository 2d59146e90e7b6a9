"""Reading through the mount with empty caches, against other ways to get at the same bytes."""

import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.competitors import RELION_PROGRAM
from benchmarks.figures import Reading
from benchmarks.measure import CRYOFS, drop_caches, run
from cryofs.fuse.control import FACTS_ATTRIBUTE


@dataclass(frozen=True)
class Read:
    """A file that was read through a mount: bytes, seconds, and the most memory that the mount took."""

    size: int
    seconds: float
    peak_bytes: int


def read_mrc(folder: Path, movie: str, runs: int) -> list[Reading]:
    """A gain-normalised movie, against the file itself and compressed peers."""
    original = folder / movie
    archive = folder / "archive"
    shutil.rmtree(archive, ignore_errors=True)
    run([*CRYOFS, "compress", movie, "-o", archive], folder)
    peers: dict[str, Callable[[], float]] = {
        "the original file": functools.partial(_cold, original, ["cat", original], folder)
    }
    if shutil.which("zstd"):
        packed = folder / "movie.zst"
        run(["zstd", "-q", "-f", "-3", "-T0", movie, "-o", packed], folder)
        peers["zstd -dc"] = functools.partial(_cold, packed, ["zstd", "-dc", packed], folder)
    if shutil.which("mksquashfs") and shutil.which("squashfuse"):
        image = folder / "movie.squashfs"
        image.unlink(missing_ok=True)
        run(["mksquashfs", movie, image, "-comp", "zstd", "-b", "1M", "-quiet", "-no-progress"], folder)
        peers["squashfuse (zstd)"] = functools.partial(_through_squashfuse, image, original.name, folder)
    read = functools.partial(_through_mount, archive / f"{original.name}.tif", original.name, folder)
    return [_in_turn("K2, gain-normalised", peer, runs, read, theirs) for peer, theirs in peers.items()]


def read_eer(folder: Path, movie: str, runs: int) -> list[Reading]:
    """All fractions of an EER movie on both grids, against RELION making its TIFF file of them."""
    if not shutil.which(RELION_PROGRAM):
        return []
    source = folder / movie
    readings = []
    (folder / "relion").mkdir(exist_ok=True)
    for upsampling, grid in ((1, "4K"), (2, "8K")):
        command = [RELION_PROGRAM, "--i", movie, "--o", "relion/"]
        command += ["--eer_grouping", "24", "--eer_upsampling", str(upsampling)]
        read = functools.partial(_through_mount, source, f"@up{upsampling}_gr24/{source.stem}.mrc", folder)
        convert = functools.partial(_cold, source, command, folder)
        readings.append(_in_turn(f"EER, {grid}, grouping 24", "RELION's conversion", runs, read, convert))
    shutil.rmtree(folder / "relion")
    return readings


def _in_turn(what: str, peer: str, runs: int, ours: Callable[[], Read], theirs: Callable[[], float]) -> Reading:
    pairs = [(ours(), theirs()) for _ in range(runs)]
    reads = [read for read, _ in pairs]
    reading = Reading(
        what=what,
        peer=peer,
        movie_bytes=reads[0].size,
        cryofs_seconds=[read.seconds for read in reads],
        peer_seconds=[seconds for _, seconds in pairs],
        peak_bytes=max(read.peak_bytes for read in reads),
    )
    print(f"read {what}: {reads[0].seconds:.2f} s, {peer}: {pairs[0][1]:.2f} s", flush=True)
    return reading


def _through_mount(stored: Path, name: str, folder: Path) -> Read:
    """Read a file of a mount of the folder that `stored` is in."""
    drop_caches(stored)
    mount = folder / "mount"
    mount.mkdir(exist_ok=True)
    run([*CRYOFS, "mount", stored.parent, mount], folder)
    try:
        seconds = run(["cat", mount / name], folder, keep_output=False).seconds
        pid = json.loads(os.getxattr(mount, FACTS_ATTRIBUTE))["pid"]
        return Read((mount / name).stat().st_size, seconds, _peak_memory(pid))
    finally:
        run([*CRYOFS, "umount", mount], folder)


def _through_squashfuse(image: Path, name: str, folder: Path) -> float:
    mount = folder / "squashfs"
    mount.mkdir(exist_ok=True)
    drop_caches(image)
    run(["squashfuse", image, mount], folder)
    try:
        return run(["cat", mount / name], folder, keep_output=False).seconds
    finally:
        run(["fusermount3", "-u", mount], folder)


def _cold(path: Path, command: Sequence[str | Path], folder: Path) -> float:
    """Seconds of a command once the kernel has forgotten a file."""
    drop_caches(path)
    return run(command, folder, keep_output=False).seconds


def _peak_memory(pid: int) -> int:
    """The most memory that a process took."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024
