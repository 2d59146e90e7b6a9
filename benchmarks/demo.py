"""`make demo`: a small session is made, archived, mounted, read by every byte and by mrcfile, and unmounted."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mrcfile
import numpy as np

from benchmarks.simulate import Detector, header, write_movie

SHAPE = (1024, 1024)
FRAMES = 20


def main() -> None:
    """Run the demonstration in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="cryofs-demo-") as place:
        session, archive, mount = (Path(place) / name for name in ("session", "archive", "mount"))
        mount.mkdir()
        say("1. A session: gain-normalised movies, one with an FEI1 extended header, a counting movie, other files")
        make_session(session)
        show_files(session)

        say("2. cryofs compress session -o archive")
        figures = json.loads(cryofs("compress", session, "-o", archive, "--json"))

        say("3. cryofs mount archive mount")
        cryofs("mount", archive, mount)
        try:
            show_files(mount)
            say("4. Every file through the mount has the SHA-256 of its original")
            compare(session, mount)
            say("5. mrcfile opens a movie through the mount")
            with mrcfile.mmap(mount / "Movies" / "k2-000.mrc", permissive=True) as movie:
                print(f"   shape {movie.data.shape}, {movie.data.dtype}, mean of frame 0: {movie.data[0].mean():.4f}")
        finally:
            say("6. cryofs umount mount")
            cryofs("umount", mount)

        say("7. cryofs verify archive")
        print("   " + cryofs("verify", archive).strip())

        say("8. What was saved")
        show_savings(archive, figures)


def make_session(folder: Path) -> None:
    """Write the files of a small session."""
    movies = folder / "Movies"
    movies.mkdir(parents=True)
    detector = Detector.make(SHAPE, defects=110)
    for number in range(3):
        write_movie(movies / f"k2-{number:03}.mrc", detector, FRAMES, seed=number)
    write_movie(movies / "k2-epu.mrc", detector, FRAMES, seed=3, extended=bytes(range(256)) * 3072, kind=b"FEI1")
    counts = np.random.default_rng(4).poisson(0.96, (FRAMES, *SHAPE)).astype(np.int8)
    (movies / "k3-counts.mrc").write_bytes(header(counts.shape, 0) + counts.tobytes())
    (folder / "movies.star").write_text("data_\n\nloop_\n_rlnMicrographMovieName #1\nMovies/k2-000.mrc\n")
    (folder / "notes.txt").write_text("K2, 300 kV, 1.06 A/px\n")


def compare(session: Path, mount: Path) -> None:
    """Compare all files of two folders, and stop on the first difference."""
    names = sorted(path.relative_to(session) for path in session.rglob("*") if path.is_file())
    for name in names:
        sums = [file_sha256(root / name) for root in (session, mount)]
        if sums[0] != sums[1]:
            sys.exit(f"   {name} differs")
        print(f"   {sums[1][:16]}...  {name}")
    found = sorted(path.relative_to(mount) for path in mount.rglob("*") if path.is_file())
    if found != names:
        sys.exit(f"   the mount shows other files: {found}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def show_files(root: Path) -> None:
    """List the files of a folder with their sizes."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            print(f"   {path.stat().st_size:>12,}  {path.relative_to(root)}")


def show_savings(archive: Path, figures: dict[str, float]) -> None:
    """Print a row for each archived movie, and the total."""
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
    """Run a cryofs command, as a user would; return what it prints."""
    command = [sys.executable, "-m", "cryofs", *(os.fspath(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    """Print the heading of a step."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
