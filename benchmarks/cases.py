"""The five kinds of movies in the comparisons, and their generation."""

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CORES
from benchmarks.simulate import (
    K2_COUNTS_FRAMES,
    K2_DEFECTS,
    K2_FRAMES,
    K2_MEAN,
    K2_SHAPE,
    Detector,
    write_counts,
    write_movie,
)
from benchmarks.simulate_eer import FALCON_FRAMES, write_falcon
from benchmarks.simulate_falcon3 import FALCON3_FRAMES, FALCON3_SHAPE, write_falcon3
from benchmarks.simulate_scaled import ScaledDetector

# Number of different movies in a run, each with several names. They fit in memory, like movies that a camera has just
# written, and the run is long enough to show the time per additional movie. RELION takes minutes per Falcon 3 movie.
_DIFFERENT = 4
_NAMES = {"k2": 12, "scaled": 12, "counts": 12, "falcon3": 4, "eer": 4}
_FRAMES = {
    "k2": K2_FRAMES,
    "scaled": K2_FRAMES,
    "counts": K2_COUNTS_FRAMES,
    "falcon3": FALCON3_FRAMES,
    "eer": FALCON_FRAMES,
}
_SMALL_FRAMES = {"k2": 24, "scaled": 24, "counts": 12, "falcon3": 12, "eer": 48}
_SMALL = (1024, 1024)


@dataclass(frozen=True)
class Case:
    """A kind of movie.

    Parameters
    ----------
    title : str
        Name in tables.
    suffix : str
        Suffix of the movies.
    movies : int
        Number of names in a run.
    write : callable
        Function of a path and a seed that writes a movie.
    """

    title: str
    suffix: str
    movies: int
    write: Callable[[Path, int], None]

    def make(self, folder: Path, movies: int | None = None) -> list[str]:
        """Write missing movies in parallel; return the names of all movies relative to the folder."""
        names = [f"movies/movie-{number:02}{self.suffix}" for number in range(movies or self.movies)]
        paths = [folder / name for name in names]
        (folder / "movies").mkdir(parents=True, exist_ok=True)
        missing = [(path, seed) for seed, path in enumerate(paths[:_DIFFERENT]) if not path.exists()]
        with ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(self._make_one, *zip(*missing, strict=True)) if missing else ())
        for number, path in enumerate(paths):
            if not path.exists():
                path.hardlink_to(paths[number % _DIFFERENT])
        return names

    def _make_one(self, path: Path, seed: int) -> None:
        draft = path.with_suffix(".draft")
        self.write(draft, seed)
        draft.rename(path)


def cases(small: bool = False) -> dict[str, Case]:
    """Return the cases by short name; small ones are for trial runs."""
    k2_shape, falcon3_shape = (_SMALL, _SMALL) if small else (K2_SHAPE, FALCON3_SHAPE)
    frames = _SMALL_FRAMES if small else _FRAMES
    writers: dict[str, Callable[..., None]] = {
        "k2": functools.partial(_write_normalised, k2_shape),
        "scaled": functools.partial(_write_scaled, k2_shape),
        "counts": functools.partial(_write_counts, k2_shape),
        "falcon3": functools.partial(_write_falcon3, falcon3_shape),
        "eer": _write_eer,
    }
    return {
        name: Case(title, suffix, _NAMES[name], functools.partial(writers[name], frames[name]))
        for name, title, suffix in (
            ("k2", "K2, gain-normalised", ".mrc"),
            ("scaled", "K2, scaled integers", ".mrc"),
            ("counts", "K2, counts", ".mrc"),
            ("falcon3", "Falcon 3, counting", ".mrc"),
            ("eer", "Falcon 4, EER", ".eer"),
        )
    }


def _detector(shape: tuple[int, int]) -> Detector:
    return Detector.make(shape, K2_DEFECTS * shape[0] * shape[1] // (K2_SHAPE[0] * K2_SHAPE[1]))


def _write_normalised(shape: tuple[int, int], frames: int, path: Path, seed: int) -> None:
    write_movie(path, _detector(shape), frames, seed=seed)


def _write_scaled(shape: tuple[int, int], frames: int, path: Path, seed: int) -> None:
    ScaledDetector(_detector(shape)).write(path, frames, mean=K2_MEAN, seed=seed)


def _write_counts(shape: tuple[int, int], frames: int, path: Path, seed: int) -> None:
    write_counts(path, frames, shape, seed=seed)


def _write_falcon3(shape: tuple[int, int], frames: int, path: Path, seed: int) -> None:
    write_falcon3(path, frames, shape, seed)


def _write_eer(frames: int, path: Path, seed: int) -> None:
    write_falcon(path, frames, seed)
