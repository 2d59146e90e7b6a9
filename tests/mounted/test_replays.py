"""Calls of the field's programs, made on a mount that archives at once and on a plain folder: equal after each call.

A table (`replays/PROGRAM.txt`) has a call a line: its name, a file, numbers, and what is written: `nz=N` for the bytes
of a movie with so many frames in its header (from another offset than 0, the bytes of a movie), `text` for text.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.simulate import header
from tests.mounted.storing import Storing, movie, storing
from tests.mounted.support import NEEDS_MOUNTS

pytestmark = NEEDS_MOUNTS
TABLES = Path(__file__).with_name("replays")
FRAMES = (3, 128, 150)
DATA = movie(7, FRAMES)
FLAGS = {"append": os.O_APPEND, "truncate": os.O_TRUNC}


class Replay:
    """Calls in a folder, and the files that they have open."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.open: dict[str, int] = {}

    def call(self, line: str) -> object:
        """Make a call of a table; return what the program gets."""
        what, name, *rest = line.split()
        numbers = [int(one) for one in rest if one.isdigit()]
        words = [one for one in rest if not one.isdigit()]
        path = self.folder / name
        call: Callable[[], object] = {
            "create": lambda: self._open(name, os.O_CREAT | os.O_EXCL, *[int(one[5:], 8) for one in words]),
            "open": lambda: self._open(name, FLAGS[words[0]] if words else 0),
            "close": lambda: os.close(self.open.pop(name)),
            "write": lambda: os.pwrite(self.open[name], written(numbers[0], numbers[1], *words), numbers[0]),
            "append": lambda: os.write(self.open[name], written(0, numbers[0], *words)),
            "read": lambda: os.pread(self.open[name], numbers[1], numbers[0]),
            "cut": lambda: os.ftruncate(self.open[name], numbers[0]),
            "sync": lambda: os.fsync(self.open[name]),
            "times": lambda: os.utime(path, ns=(numbers[0], numbers[0] + 1)),
            "mode": lambda: path.chmod(int(rest[0], 8)),
            "attribute": lambda: os.setxattr(path, words[0], rest[1].encode()),
            "rename": lambda: path.replace(self.folder / rest[0]) and None,
            "remove": lambda: path.rmdir() if path.is_dir() else path.unlink(),
            "folder": path.mkdir,
            "link": lambda: (self.folder / rest[0]).symlink_to(f"../{name}"),
        }[what]
        return call()

    def seen(self) -> dict[str, tuple[int, int, bytes]]:
        """Return what the program sees of its open files."""
        found = {name: os.fstat(file) for name, file in self.open.items()}
        return {name: (one.st_size, one.st_mode, os.pread(self.open[name], 10**6, 0)) for name, one in found.items()}

    def _open(self, name: str, flags: int, mode: int = 0o644) -> None:
        self.open[name] = os.open(self.folder / name, os.O_RDWR | flags, mode)


def written(offset: int, size: int, what: str = "") -> bytes:
    if what == "text":
        return (b"[ZValue = 0]\nTiltAngle = 0.5\n" * size)[:size]
    frames = int(what.removeprefix("nz=") or FRAMES[0])
    return (header((frames, *FRAMES[1:]), 1) + DATA[1024:])[offset : offset + size]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storing]:
    """A mount that archives at once, and a plain folder."""
    with storing(tmp_path_factory.mktemp("replays")) as made:
        yield made


@pytest.mark.parametrize("pause", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("program", sorted(path.stem for path in TABLES.iterdir()))
def test_a_program_sees_what_it_sees_on_a_plain_folder(stored: Storing, program: str, pause: bool) -> None:
    place = stored.below(f"{program} {pause}")
    shown, plain = Replay(place.mount), Replay(place.plain)
    for line in (TABLES / f"{program}.txt").read_text().splitlines():
        if not line.startswith("#"):
            assert shown.call(line) == plain.call(line), line
            assert shown.seen() == plain.seen(), line
            place.check()
            if pause and not shown.open and line.split()[0] in ("close", "times", "rename", "mode"):
                place.wait()
    assert not shown.open
    place.wait()
