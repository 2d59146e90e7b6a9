"""A plain movie and its archived movie in one folder, as steps of a journal leave them."""

import os
import shutil
from pathlib import Path

from cryofs.storage.journal import FileMark, Line, StepName, add_line
from cryofs.storage.steps import Use
from tests.support import archive, written_movie


def make_twins(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Both forms of one movie; the plain file has the times of the original."""
    original = written_movie(folder.parent / f"source {seed}" / "X.mrc", seed)
    archive(original, folder)
    plain = folder / "X.mrc"
    shutil.copy2(original, plain)
    return plain, folder / "X.mrc.tif"


def line_of(step: StepName, counts: Path, other: Path, hidden: str | None = None) -> Line:
    return Line(step, FileMark.of(counts.name, counts.stat()), FileMark.of(other.name, other.stat()), hidden)


def add(step: StepName, counts: Path, other: Path, hidden: str | None = None) -> Line:
    line = line_of(step, counts, other, hidden)
    add_line(counts.parent, line)
    return line


def alter(path: Path, data: bytes = b"altered") -> None:
    """Overwrite the end of a file in place; its mtime changes."""
    with path.open("r+b") as file:
        file.seek(-len(data), os.SEEK_END)
        file.write(data)
    os.utime(path, ns=(1, 2))


class NoUsers:
    """Nobody has the file open."""

    knows_all = True

    def check(self) -> None:
        pass

    def switch(self) -> None:
        pass

    def use(self) -> Use:
        return Use.FREE
