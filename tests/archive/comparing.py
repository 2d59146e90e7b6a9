"""Compare and remove, with what was reported meanwhile."""

import os
from pathlib import Path
from typing import Any

from cryofs.archive.compare import CompareOptions, Comparison, compare


class Watcher:
    """A listener that keeps what it receives."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0
        self.notes: list[str] = []
        self.errors: list[str] = []

    def begin(self, total_bytes: int) -> None:
        self.total = total_bytes

    def advance(self, count: int) -> None:
        self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)

    def failed(self, error: Exception) -> None:
        self.errors.append(str(error))


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def compared(source: Path, target: Path, **choices: Any) -> tuple[Comparison, Watcher]:
    watcher = Watcher()
    return compare(source, target, CompareOptions(jobs=2, **choices), watcher), watcher


def flip_last_byte(path: Path) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
