"""Compare compressing, verifying, extracting and reading movies of many small frames, and reading many small movies."""

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.figures import RATE, READING_NOTE, Reading
from benchmarks.measure import CRYOFS, forget, run
from benchmarks.reading_peers import KERNEL_SQUASHFS, RAW, SQUASHFS_OPTIONS, cat
from benchmarks.readings import SMALL, Readings, in_turn
from benchmarks.simulate import write_counts, write_frames

COPY, SHA256SUM = "cp", "sha256sum"
# diffraction patterns of 4D-STEM
_PATTERN, _UINT16 = (64, 64), 6
_BEAM, _BEAM_WIDTH, _BACKGROUND = 40.0, 10.0, 0.4
_SMALL_MOVIE, _DIFFERENT, _SOME = (5, 128, 128), 4, 100
# settings that might compress faster than the default ones
_SETTINGS = ("--jobs 1", "--compression deflate")


def small_frames(folder: Path, frames: Sequence[int], movies: int, runs: int, notes: list[str]) -> list[Reading]:
    """Measure movies of diffraction patterns with each number of frames, and `movies` movies of five frames."""
    readings = Readings(SMALL)
    for count in frames:
        _measure_patterns(folder / f"patterns-{count}", count, readings, runs, notes)
    _read_many(folder / "many", movies, readings, runs)
    return readings.all()


def _measure_patterns(folder: Path, frames: int, readings: Readings, runs: int, notes: list[str]) -> None:
    movie, archive, image = folder / "movies" / "patterns.mrc", folder / "archive", folder / "movies.squashfs"
    movie.parent.mkdir(parents=True, exist_ok=True)
    if not movie.exists():
        write_patterns(movie, frames)
    stored, restored = archive / "patterns.mrc.tif", folder / "restored"
    what = f"{frames:,} frames of 64 x 64 uint16"
    size = movie.stat().st_size

    def timed(task: str, way: str, *command: str | Path) -> None:
        seconds = run(command, folder, keep_output=False).seconds
        readings.add(f"{what}, {task}", way, RATE, size / seconds / 1e9)

    def ours() -> None:
        for setting in (*_SETTINGS, ""):
            shutil.rmtree(archive, ignore_errors=True)
            way = f"{OURS}, {setting}" if setting else OURS
            timed("compress", way, *CRYOFS, "compress", movie, "-o", archive, *setting.split())
        shutil.rmtree(restored, ignore_errors=True)
        timed("verify", OURS, *CRYOFS, "verify", stored)
        timed("extract", OURS, *CRYOFS, "extract", stored, "-o", restored)

    def copy() -> None:
        timed("compress", COPY, "cp", movie, folder / "copy")
        timed("extract", COPY, "cp", movie, folder / "copy")

    in_turn(
        runs, {OURS: ours, COPY: copy, SHA256SUM: functools.partial(timed, "verify", SHA256SUM, "sha256sum", movie)}
    )
    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {
        OURS: functools.partial(mounts.cryofs_at_rest, archive, folder / "mount"),
    }
    if why_not := mounts.no_kernel_squashfs():
        notes.append(f"{READING_NOTE}{SMALL}, {KERNEL_SQUASHFS}: {why_not}.")
    else:
        if not image.exists():
            run(["mksquashfs", movie.parent, image, "-noappend", *SQUASHFS_OPTIONS], folder)
        ways[KERNEL_SQUASHFS] = functools.partial(mounts.kernel_squashfs, image, folder / "mount")

    def read(way: str) -> None:
        with ways[way]():
            forget([stored, image] if image.exists() else [stored])
            readings.add(f"{what}, read, cold", way, RATE, size / cat([folder / "mount" / movie.name]) / 1e9)

    def read_raw() -> None:
        forget([movie])
        readings.add(f"{what}, read, cold", RAW, RATE, size / cat([movie]) / 1e9)

    in_turn(runs, {way: functools.partial(read, way) for way in ways} | {RAW: read_raw})


def write_patterns(path: Path, frames: int, seed: int = 0) -> None:
    """Write a movie of diffraction patterns: counts of a beam over a weak background."""
    rng = np.random.default_rng(seed)
    y, x = (np.arange(length) - length / 2 for length in _PATTERN)
    mean = _BACKGROUND + _BEAM * np.exp(-(np.hypot(y[:, np.newaxis], x) ** 2) / _BEAM_WIDTH**2)
    patterns = (rng.poisson(mean).astype(np.uint16) for _ in range(frames))
    write_frames(path, patterns, (frames, *_PATTERN), _UINT16)


def _read_many(folder: Path, movies: int, readings: Readings, runs: int) -> None:
    """Read all movies of an archive in one mount, to compare the times of the first and last movies."""
    archive = folder / "archive"
    if not archive.exists():
        few = [folder / "few" / f"{number}.mrc" for number in range(_DIFFERENT)]
        few[0].parent.mkdir(parents=True)
        frames, *shape = _SMALL_MOVIE
        for seed, path in enumerate(few):
            write_counts(path, frames, (shape[0], shape[1]), seed=seed)
        run([*CRYOFS, "compress", *few, "-o", folder / "stored"], folder)
        stored = sorted((folder / "stored").glob("*.mrc.tif"))
        archive.mkdir()
        for number in range(movies):
            shutil.copyfile(stored[number % len(stored)], archive / f"{number:05}.mrc.tif")
    names = [f"{number:05}.mrc" for number in range(movies)]

    def ours() -> None:
        with mounts.cryofs_at_rest(archive, folder / "mount"):
            forget([])
            took = [_seconds(folder / "mount" / name) for name in names]
        _add(readings, OURS, movies, took)

    def raw() -> None:
        forget([])
        _add(readings, "archive itself", movies, [_seconds(archive / f"{name}.tif") for name in names])

    in_turn(runs, {OURS: ours, "archive itself": raw})


def _add(readings: Readings, way: str, movies: int, took: list[float]) -> None:
    for which, part in (("first", took[:_SOME]), ("last", took[-_SOME:])):
        what = f"{movies:,} movies of 5 frames, each of the {which} {_SOME}, cold"
        readings.add(what, way, "ms", 1000 * float(np.mean(part)))


def _seconds(path: Path) -> float:
    started = time.perf_counter()
    path.read_bytes()
    return time.perf_counter() - started
