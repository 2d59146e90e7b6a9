"""The file system of a folder, without FUSE, and EER movies for it."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.config.settings import Settings
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.vfs.file_system import FileSystem
from tests.support import listed_in

SHAPE = (64, 48)
FALCON = Widths()
GAIN = np.random.default_rng(3).uniform(0.8, 1.2, SHAPE).astype(np.float32)


@contextlib.contextmanager
def started(files: FileSystem) -> Iterator[FileSystem]:
    """Start a file system, and stop it at the end."""
    files.start()
    try:
        yield files
    finally:
        files.stop()


def serving(folder: Path, **settings: object) -> AbstractContextManager[FileSystem]:
    return started(FileSystem(folder, Settings(jobs=2, eer_grouping=settings.pop("eer_grouping", 4), **settings)))  # type: ignore[arg-type]


def content(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        size = files.attributes(path).size
        data = files.read(handle, size + 10, 0)
        assert len(data) == size
        return data if isinstance(data, bytes) else data.tobytes()
    finally:
        files.release(handle)


def names(files: FileSystem, path: str) -> list[str]:
    return [name for name, _ in listed_in(files, path)]


def rendered(path: Path, **choices: object) -> bytes:
    with EerMovie(path, Rendering(**choices), EerGains()) as movie:  # type: ignore[arg-type]
        return movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.shape[0]))


def write_movie(path: Path, frames: int = 10, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    xml = metadata(frames, 0.5, 0.7)
    write_eer(path, random_frames(frames, SHAPE, 0.05, FALCON, seed), SHAPE, FALCON, xml=xml)
    return path
