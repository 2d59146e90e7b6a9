"""Measure the memory of a mount under a sustained mixed load."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.figures import Reading
from benchmarks.measure import apart
from benchmarks.reading_loads import HEADER_BYTES, MOVIES
from benchmarks.reading_peers import Session
from benchmarks.readings import MEMORY

_CHUNK = 1 << 20
_READERS = 2
_ROUND_READS = 20
# the default cache size, unless all movies would fit in it
_CACHE_BYTES = 4 << 30


def memory_under_load(session: Session, minutes: float) -> list[Reading]:
    """Measure the peak memory of a mount during `minutes` of sequential and random reads, listings and opens.

    All movies together exceed the cache size.
    """
    cache = min(_CACHE_BYTES, session.movie_bytes * MOVIES // 4)
    mount = session.folder / "mount"
    peaks = []
    with mounts.cryofs(session.archive, mount, "--cache-size", str(cache)):
        for _ in range(2):
            # the readers run in a separate process, so that their memory is not measured
            apart(_load, [mount / path.name for path in session.originals], 60 * minutes / 2)
            peaks.append(mounts.peak_memory(mount))
    span = f"{minutes:g} minutes" if minutes >= 1 else f"{60 * minutes:g} seconds"
    figures = {
        "cache size (`--cache-size`)": ("GB", cache / 1e9),
        f"most memory in {span}": ("GB", peaks[1] / 1e9),
        "most memory / cache size": ("", peaks[1] / cache),
        "of it reached in the first half": ("%", 100 * peaks[0] / peaks[1]),
    }
    return [Reading(MEMORY, what, OURS, unit, [value]) for what, (unit, value) in figures.items()]


def _load(paths: list[Path], seconds: float) -> None:
    """Run all readers in parallel for some seconds; raise the first error of their threads."""
    until = time.monotonic() + seconds
    failures: list[BaseException] = []
    actions: list[Callable[[np.random.Generator], None]] = [lambda rng: _in_order(paths, rng, until)] * _READERS
    actions += [lambda rng: _at_random(paths, rng), lambda rng: _list(paths[0].parent), lambda rng: _open(paths, rng)]

    def repeat(action: Callable[[np.random.Generator], None], seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            while time.monotonic() < until:
                action(rng)
        except Exception as error:  # noqa: BLE001 - raised again after joining the threads
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(action, seed)) for seed, action in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _in_order(paths: list[Path], rng: np.random.Generator, until: float) -> None:
    with rng.choice(np.array(paths)).open("rb", buffering=0) as file:
        _without_pages(file.fileno())
        while file.read(_CHUNK) and time.monotonic() < until:
            pass


def _at_random(paths: list[Path], rng: np.random.Generator) -> None:
    with rng.choice(np.array(paths)).open("rb", buffering=0) as file:
        _without_pages(file.fileno())
        for place in rng.integers(0, os.fstat(file.fileno()).st_size - _CHUNK, _ROUND_READS):
            os.pread(file.fileno(), int(rng.choice((4096, _CHUNK))), place)


def _open(paths: list[Path], rng: np.random.Generator) -> None:
    with rng.choice(np.array(paths)).open("rb", buffering=0) as file:
        file.read(HEADER_BYTES)
    time.sleep(0.01)


def _list(folder: Path) -> None:
    for path in folder.iterdir():
        path.stat()
    time.sleep(0.1)


def _without_pages(descriptor: int) -> None:
    """Drop the cached pages of a file, because the kernel would serve them without a request to the mount."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
