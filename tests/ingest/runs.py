"""Runs of ingest, with what they report."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.ingest.run import IngestOptions, ingest
from cryofs.ingest.summary import Summary

AT_ONCE = IngestOptions(settle=0, jobs=2)


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.done: list[Path] = []
        self.counted = self.expected = 0

    def begin(self, movies: int, frames: int) -> None:
        self.expected += frames

    def frames(self, count: int) -> None:
        self.counted += count

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        self.done.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def failed(self, error: Exception) -> None:
        self.errors.append(str(error))


def ingested(folder: Path, options: IngestOptions = AT_ONCE) -> tuple[Summary, Listener]:
    listener = Listener()
    return ingest(folder, options, listener), listener


def figures(summary: Summary) -> tuple[int, int, int, int]:
    return summary.ingested, summary.waiting, summary.kept_plain, summary.failed


def noise(path: Path) -> Path:
    values = np.random.default_rng(1).integers(-(2**15), 2**15, (2, 60, 50)).astype("<i2")
    path.write_bytes(header((2, 60, 50), 1) + values.tobytes())
    return path


@contextlib.contextmanager
def following(folder: Path, listener: Listener) -> Iterator[list[Summary]]:
    """A run that follows, in a thread; its summary is in the list at the end."""
    stop = threading.Event()
    found: list[Summary] = []
    options = IngestOptions(settle=0, follow=True, jobs=1)
    thread = threading.Thread(target=lambda: found.append(ingest(folder, options, listener, stop)))
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the storage be one on which leases show nothing."""
    for module in ("cryofs.ingest.run", "cryofs.archive.recovery"):
        monkeypatch.setattr(f"{module}.may_be_remote", lambda _: True)
