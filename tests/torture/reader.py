"""A reader process: read files of a mount with one access pattern, and report errors.

Each file has several versions of equal size, which replace each other meanwhile. All reads of an open file must come
from one version.
"""

import errno
import json
import mmap
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

# Mapping a new version fails while the old version is open for reading.
_REFUSALS = (errno.ENODEV,)
# A file that is overwritten in place is temporarily empty, incomplete or not a movie, and bytes of the old version are
# lost.
_OVERWRITTEN = "overwritten.mrc"
_IN_PLACE = (errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENOENT)


@dataclass
class Reader:
    """Reads files for a given time.

    Parameters
    ----------
    versions : dict
        Versions of each file, by name.
    """

    mount: Path
    versions: dict[str, list[bytes]]
    rng: np.random.Generator
    patience: float
    counts: dict[str, int] = field(default_factory=lambda: {"requests": 0, "wrong": 0, "errors": 0, "hung": 0})

    def ask(self, request: Callable[..., T], *arguments: Any) -> T:
        """Return the result of a request, and count it as hung if it takes too long."""
        started = time.monotonic()
        try:
            return request(*arguments)
        finally:
            self.counts["requests"] += 1
            self.counts["hung"] += time.monotonic() - started > self.patience

    def check(self, left: list[bytes], offset: int, wanted: int, data: bytes) -> list[bytes]:
        """Return the versions that are still consistent with an open file after another piece."""
        left = [version for version in left if version[offset : offset + len(data)] == data]
        # a read is short only at the end
        if not left or len(data) < len(left[0][offset : offset + wanted]):
            self.counts["wrong"] += 1
        return left

    def pieces(self, file: int, name: str, places: list[tuple[int, int]]) -> None:
        left = self.versions[name]
        for offset, size in places:
            data = more = self.ask(os.pread, file, size, offset)
            while more and len(data) < size:
                more = self.ask(os.pread, file, size - len(data), offset + len(data))
                data += more
            left = self.check(left, offset, size, data)

    def sequential(self, file: int, name: str) -> None:
        total = len(self.versions[name][0])
        self.pieces(file, name, [(offset, 1 << 18) for offset in range(0, total, 1 << 18)])

    def random(self, file: int, name: str) -> None:
        total = len(self.versions[name][0])
        places = [(int(self.rng.integers(total)), int(self.rng.integers(1, 1 << 18))) for _ in range(20)]
        self.pieces(file, name, places)

    def mapped(self, file: int, name: str) -> None:
        left = self.versions[name]
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as view:
            for _ in range(10):
                offset = int(self.rng.integers(len(view)))
                view.seek(offset)
                left = self.check(left, offset, 20_000, self.ask(view.read, 20_000))

    def mixed(self, file: int, name: str) -> None:
        """Read header, a piece and the end in random order, and sometimes the whole file."""
        (self.sequential if self.rng.random() < 0.2 else self.random)(file, name)
        total = len(self.versions[name][0])
        self.pieces(file, name, [(total - 100, 200), (0, 1024), (total, 10)])

    def nothing(self, file: int, name: str) -> None:
        """Read nothing; only open and close the file."""

    def stat(self, name: str) -> None:
        found = self.ask(os.stat, self.mount / name)
        self.counts["wrong"] += found.st_size != len(self.versions[name][0])

    def listing(self, name: str) -> None:
        found = self.ask(os.listdir, self.mount)
        self.counts["wrong"] += {*found} - {_OVERWRITTEN, _OVERWRITTEN + ".tif"} != {*self.versions} - {_OVERWRITTEN}

    def run(self, kind: str, seconds: float) -> None:
        """Read with an access pattern for some seconds."""
        until = time.monotonic() + seconds
        names = sorted(self.versions)
        while time.monotonic() < until:
            name = names[int(self.rng.integers(len(names)))]
            in_place = name == _OVERWRITTEN
            if in_place and kind == "mapped":
                continue  # a read error of a memory map is a signal
            try:
                if kind in ("stat", "listing"):
                    getattr(self, kind)(name)
                else:
                    file = os.open(self.mount / name, os.O_RDONLY)
                    try:
                        getattr(self, kind)(file, name)
                    finally:
                        os.close(file)
            except OSError as error:
                self.counts["errors"] += error.errno not in (_IN_PLACE if in_place else _REFUSALS)


KINDS = ("sequential", "random", "mapped", "mixed", "nothing", "stat", "listing", "random")


def main() -> None:
    mount, folder, kind, seed, seconds, patience = sys.argv[1:]
    versions: dict[str, list[bytes]] = {}
    for path in sorted(Path(folder).glob("*/*")):
        versions.setdefault(path.name, []).append(path.read_bytes())
    reader = Reader(Path(mount), versions, np.random.default_rng(int(seed)), float(patience))
    reader.run(kind, float(seconds))
    print(json.dumps(reader.counts))


if __name__ == "__main__":
    main()
