"""A read-only mount of an archive in which movies are ingested meanwhile."""

import errno
import mmap
import os
import threading
from pathlib import Path

import numpy as np

from cryofs.ingest.run import IngestOptions, ingest
from tests.ingest.runs import Listener
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import mounted, written_movie

pytestmark = NEEDS_MOUNTS


class Reader(threading.Thread):
    """Lists, reads and maps movies again and again, and collects what is not as expected."""

    def __init__(self, place: Path, movies: dict[str, bytes], over: threading.Event, seed: int):
        super().__init__()
        self._place = place
        self._movies = movies
        self._over = over
        self._rng = np.random.default_rng(seed)
        self.problems: list[object] = []
        self.reads = 0

    def run(self) -> None:
        while not self._over.is_set():
            name = str(self._rng.choice(list(self._movies)))
            try:
                self._read(name)
            except OSError as error:
                self.problems.append((name, error))
            self.reads += 1

    def _read(self, name: str) -> None:
        if (listed := sorted(os.listdir(self._place))) != sorted(self._movies):
            self.problems.append(listed)
        with (self._place / name).open("rb") as file:
            data = file.read() if self._rng.random() < 0.5 else self._mapped(file.fileno())
        if data != self._movies[name]:
            self.problems.append((name, len(data)))

    def _mapped(self, descriptor: int) -> bytes:
        try:
            with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
                return mapped[:]
        except OSError as error:
            # no shared map while another reader has the plain file of the movie open
            if error.errno != errno.ENODEV:
                raise
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def test_readers_see_the_movies_at_any_moment(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    movies = {f"{seed}.mrc": written_movie(archive / f"{seed}.mrc", seed).read_bytes() for seed in range(12)}
    over = threading.Event()
    with mounted(archive, tmp_path / "mnt") as place:
        readers = [Reader(place, movies, over, seed) for seed in range(3)]
        for reader in readers:
            reader.start()
        try:
            # what a reader has open waits for the next search
            for _ in range(100):
                summary = ingest(archive, IngestOptions(settle=0, jobs=1), Listener())
                if not summary.waiting:
                    break
        finally:
            over.set()
            for reader in readers:
                reader.join()
    assert not [problem for reader in readers for problem in reader.problems]
    assert sum(reader.reads for reader in readers) > 10
    assert sorted(path.name for path in archive.iterdir()) == sorted(f"{name}.tif" for name in movies)
