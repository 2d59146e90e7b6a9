"""Access patterns of readers. Each load is measured with empty caches, then with warm caches."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import RATE
from benchmarks.reading_peers import Opened

MOVIES = 4
HEADER_BYTES = 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PLACES = 100


@dataclass(frozen=True)
class Measured:
    """A measured value of a load, with its name and unit."""

    what: str
    unit: str
    value: float


@dataclass(frozen=True)
class Load:
    """A load: its name and the function that measures it."""

    name: str
    measure: Callable[[Opened], list[Measured]]


def _one_reader(opened: Opened) -> list[Measured]:
    seconds = opened.read_all(opened.paths[:1])
    return [Measured("one reader", RATE, opened.movie_bytes / seconds / 1e9)]


def _four_readers(opened: Opened) -> list[Measured]:
    seconds = opened.read_all(opened.paths[:MOVIES])
    return [Measured("four readers, a movie each", RATE, MOVIES * opened.movie_bytes / seconds / 1e9)]


def _random_mib(opened: Opened) -> list[Measured]:
    size = 1 << 20
    seconds = _random(opened.paths[0], size)
    return [Measured("random 1 MiB", RATE, len(seconds) * size / seconds.sum() / 1e9)]


def _random_4k(opened: Opened) -> list[Measured]:
    seconds = 1000 * _random(opened.paths[0], 4096)
    worst, middle = float(seconds.max()), float(np.median(seconds))
    return [Measured("random 4 KiB, median", "ms", middle), Measured("random 4 KiB, worst", "ms", worst)]


def _mmap(opened: Opened) -> list[Measured]:
    started = time.perf_counter()
    pages = np.memmap(opened.paths[0], np.uint8, "r")
    pages[::_PAGE].sum(dtype=np.int64)
    seconds = time.perf_counter() - started
    return [Measured("mmap, every page", RATE, opened.movie_bytes / seconds / 1e9)]


def _header_only(opened: Opened) -> list[Measured]:
    started = time.perf_counter()
    for path in opened.paths:
        _read(path, HEADER_BYTES, 0)
    seconds = time.perf_counter() - started
    return [Measured("header only, each of four movies", "ms", 1000 * seconds / len(opened.paths))]


def _first_byte(opened: Opened) -> list[Measured]:
    started = time.perf_counter()
    _read(opened.paths[0], 1, HEADER_BYTES)
    return [Measured("first byte of frame 0", "ms", 1000 * (time.perf_counter() - started))]


ONE_READER = Load("one reader", _one_reader)
FOUR_READERS = Load("four readers", _four_readers)
RANDOM = (Load("random 1 MiB", _random_mib), Load("random 4 KiB", _random_4k))
LOADS = (
    ONE_READER,
    FOUR_READERS,
    *RANDOM,
    Load("mmap", _mmap),
    Load("header only", _header_only),
    Load("first byte", _first_byte),
)


def _random(path: Path, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the seconds that reads at reproducible random offsets took, shape (reads,)."""
    places = np.random.default_rng(1).integers(HEADER_BYTES, path.stat().st_size - size, _PLACES)
    seconds = np.empty(_PLACES)
    with path.open("rb", buffering=0) as file:
        for number, place in enumerate(places):
            started = time.perf_counter()
            os.pread(file.fileno(), size, place)
            seconds[number] = time.perf_counter() - started
    return seconds


def _read(path: Path, size: int, offset: int) -> None:
    with path.open("rb", buffering=0) as file:
        os.pread(file.fileno(), size, offset)
