"""`make demo`: generate a small session, archive it, mount it, compare every byte, open it with mrcfile, unmount it;
then write a movie through a writable mount, which archives it.

The session includes an EER movie. The mount shows its fractions in the main view and in the view @up2_gr8.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import tifffile

from benchmarks.simulate import Detector, write_counts, write_movie
from benchmarks.simulate_eer import FALCON_MEAN, Widths, metadata, random_frames, write_eer

SHAPE = (1024, 1024)
FRAMES = 20
EER_FRAMES = 240


def main() -> None:
    """Run the demonstration in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="cryofs-demo-") as place:
        session, archive, mount = (Path(place) / name for name in ("session", "archive", "mount"))
        mount.mkdir()
        print_step(
            "1. A session: gain-normalised movies, one with an FEI1 extended header, counting movies, EER, other files"
        )
        make_session(session)
        show_files(session)

        print_step("2. cryofs compress session -o archive")
        figures = json.loads(cryofs("compress", session, "-o", archive, "--json"))

        print_step("3. cryofs mount archive mount --eer-grouping 24")
        cryofs("mount", archive, mount, "--eer-grouping", "24")
        try:
            show_files(mount)
            print_step("4. Every file through the mount has the SHA-256 of its original")
            compare(session, mount)
            print_step("5. mrcfile opens a movie through the mount")
            with mrcfile.mmap(mount / "Movies" / "k2-000.mrc", permissive=True) as movie:
                print(f"   shape {movie.data.shape}, {movie.data.dtype}, mean of frame 0: {movie.data[0].mean():.4f}")
            print_step(
                "6. The EER movie as fractions of 24 frames, and of 8 frames on the 8K grid, without mounting again"
            )
            show_fractions(session, mount, "Movies/falcon.mrc", 24)
            show_fractions(session, mount, "@up2_gr8/Movies/falcon.mrc", 8)
        finally:
            print_step("7. cryofs umount mount")
            cryofs("umount", mount)

        print_step("8. cryofs verify archive")
        print("   " + cryofs("verify", archive).strip())

        print_step("9. Space saved")
        show_savings(archive, figures)

        print_step("10. cryofs mount --writable -o settle=1 archive mount; a program writes a movie; it shrinks")
        cryofs("mount", "--writable", "-o", "settle=1", archive, mount)
        try:
            write_through(mount, archive)
        finally:
            print_step("11. cryofs umount --wait mount")
            cryofs("umount", "--wait", mount)


def detector_of_session() -> Detector:
    """Return the detector of all gain-normalised movies; they share a gain reference."""
    return Detector.make(SHAPE, defects=110)


def make_session(folder: Path) -> None:
    """Write the files of a small session."""
    movies = folder / "Movies"
    movies.mkdir(parents=True)
    detector = detector_of_session()
    for number in range(3):
        write_movie(movies / f"k2-{number:03}.mrc", detector, FRAMES, seed=number)
    write_movie(movies / "k2-epu.mrc", detector, FRAMES, seed=3, extended=bytes(range(256)) * 3072, kind=b"FEI1")
    write_counts(movies / "k3-counts.mrc", FRAMES, SHAPE, seed=4)
    widths = Widths()
    encoded = random_frames(EER_FRAMES, SHAPE, FALCON_MEAN, widths, seed=5)
    xml = metadata(EER_FRAMES, FALCON_MEAN * EER_FRAMES, 0.727)
    write_eer(movies / "falcon.eer", encoded, SHAPE, widths, xml=xml)
    (folder / "movies.star").write_text("data_\n\nloop_\n_rlnMicrographMovieName #1\nMovies/k2-000.mrc\n")
    (folder / "notes.txt").write_text("K2, 300 kV, 1.06 A/px\n")


def compare(session: Path, mount: Path) -> None:
    """Compare all files of two folders; stop at the first difference."""
    names = sorted(path.relative_to(session) for path in session.rglob("*") if path.is_file())
    for name in names:
        sums = [file_sha256(root / name) for root in (session, mount)]
        if sums[0] != sums[1]:
            sys.exit(f"   {name} differs")
        print(f"   {sums[1][:16]}...  {name}")
    found = sorted(path.relative_to(mount) for path in mount.rglob("*") if path.is_file())
    if found != sorted([*names, Path("Movies/falcon.mrc")]):
        sys.exit(f"   the mount shows other files: {found}")


def show_fractions(session: Path, mount: Path, name: str, grouping: int) -> None:
    """Open the fractions of an EER movie; stop if the first differs from the sum of its frames decoded by tifffile."""
    with mrcfile.mmap(mount / name) as movie:
        frames, ny, nx = movie.data.shape
        first = movie.data[0].astype(np.int64)
        print(f"   {name}: {frames} fractions of {ny} x {nx}, {float(movie.voxel_size.x):.4f} A per pixel")
    expected = tifffile.imread(session / "Movies" / "falcon.eer", key=range(grouping)).astype(np.int64).sum(axis=0)
    upsampling = nx // SHAPE[1]
    counted = first.reshape(SHAPE[0], upsampling, SHAPE[1], upsampling).sum(axis=(1, 3))
    if not np.array_equal(counted, expected):
        sys.exit(f"   {name}: the first fraction is not the sum of its frames")
    print(f"      the first contains {first.sum()} electrons, in the same pixels as decoded by tifffile")


def write_through(mount: Path, archive: Path) -> None:
    """Write a movie through a writable mount, and wait until it is archived; stop if a byte differs afterwards."""
    name = "Movies/k2-new.mrc"
    write_movie(mount / name, detector_of_session(), FRAMES, seed=6)
    plain, movie = archive / name, archive / f"{name}.tif"
    written = file_sha256(mount / name)
    print(f"   {(mount / name).stat().st_size:>12,}  archive/{name}, as it was written")
    deadline = time.monotonic() + 60
    while plain.exists() or not movie.exists():
        if time.monotonic() > deadline:
            sys.exit(f"   {name} was not archived within a minute: {cryofs('stats', mount)}")
        time.sleep(0.05)
    print(f"   {movie.stat().st_size:>12,}  archive/{name}.tif, archived")
    if file_sha256(mount / name) != written:
        sys.exit(f"   {name} differs after it was archived")
    print(f"   {written[:16]}...  {name} through the mount, before and after")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def show_files(root: Path) -> None:
    """Print the files of a folder with their sizes."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            print(f"   {path.stat().st_size:>12,}  {path.relative_to(root)}")


def show_savings(archive: Path, figures: dict[str, float]) -> None:
    """Print a row per archived movie, and the total."""
    print(f"   {'movie':24} {'original':>12} {'stored':>12} {'%':>6}  codec")
    for path in sorted(archive.rglob("*.tif")):
        facts = json.loads(cryofs("info", path, "--json"))
        original = facts["original"]
        print(
            f"   {original['name']:24} {original['bytes']:>12,} {facts['stored_bytes']:>12,} "
            f"{100 * facts['ratio']:>6.2f}  {facts['compression']} of {facts['stored_dtype']}"
        )
    print(
        f"   {'all movies':24} {figures['original_bytes']:>12,} {figures['stored_bytes']:>12,} "
        f"{100 * figures['ratio']:>6.2f}  in {figures['seconds']:.1f} s"
    )


def cryofs(*arguments: str | os.PathLike[str]) -> str:
    """Run a cryofs command; return its output."""
    command = [sys.executable, "-m", "cryofs", *(os.fspath(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def print_step(text: str) -> None:
    """Print the heading of a step."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
