"""A real mount whose archive changes, compared with a model: open files keep their content, new opens see the new."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from benchmarks.simulate import header
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import archive, mounted

pytestmark = NEEDS_MOUNTS
# several pages per frame, all movies of equal size, because the kernel caches sizes for a second
SHAPE = (3, 90, 101)
SIZE = 1024 + SHAPE[0] * SHAPE[1] * SHAPE[2]
CONTENTS = 3
# movies, and a plain file
NAMES = ("a.mrc", "b.mrcs", "notes.txt")


@dataclass(frozen=True)
class Content:
    """An original, and the archived file that contains it."""

    original: bytes
    stored: bytes


@dataclass
class Handle:
    """An open file: its descriptor, its content when opened, and whether it was overwritten later."""

    descriptor: int
    content: Content
    inode: int
    overwritten: bool = False


@pytest.fixture(scope="module", autouse=True)
def live_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("changes")
    for number in range(CONTENTS):
        source = folder / f"{number}.mrc"
        values = np.random.default_rng(number).poisson(1.4, SHAPE).astype("i1")
        source.write_bytes(header(SHAPE, 0) + values.tobytes())
        archive(source, folder / "made")
        stored = (folder / "made" / f"{number}.mrc.tif").read_bytes()
        MountedChanges.contents.append(Content(source.read_bytes(), stored))
    MountedChanges.archive = folder / "archive"
    MountedChanges.archive.mkdir()
    with mounted(MountedChanges.archive, folder / "mnt") as place:
        MountedChanges.mount = place
        yield


class MountedChanges(RuleBasedStateMachine):
    """State machine with a separate archive folder per example; the model maps names to contents."""

    contents: list[Content] = []  # noqa: RUF012
    archive: Path
    mount: Path
    examples = 0
    handles = Bundle("handles")

    @initialize()
    def begin(self) -> None:
        type(self).examples += 1
        self.folder = self.archive / str(self.examples)
        self.folder.mkdir()
        self.model: dict[str, Content] = {}
        self.open: list[Handle] = []
        self.time = 1_700_000_000_000_000_000

    def teardown(self) -> None:
        for handle in getattr(self, "open", []):
            os.close(handle.descriptor)

    def place(self, name: str) -> Path:
        return self.folder / (name if name == "notes.txt" else f"{name}.tif")

    def write(self, path: Path, name: str, content: Content) -> None:
        """Write a file with a unique modification time."""
        path.write_bytes(content.original if name == "notes.txt" else content.stored)
        self.time += 1_000_000
        os.utime(path, ns=(self.time, self.time))
        self.model[name] = content

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, CONTENTS - 1))
    def put(self, name: str, number: int) -> None:
        """Add or replace a file by a rename."""
        draft = self.archive / "draft"
        self.write(draft, name, self.contents[number])
        draft.replace(self.place(name))

    @rule(name=st.sampled_from(NAMES[:2]), number=st.integers(0, CONTENTS - 1))
    def overwrite(self, name: str, number: int) -> None:
        """Write another movie to the same file."""
        if name in self.model:
            inode = self.place(name).stat().st_ino
            self.write(self.place(name), name, self.contents[number])
            for handle in self.open:
                handle.overwritten |= handle.inode == inode

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.place(name).unlink(missing_ok=True)
        self.model.pop(name, None)

    @rule(target=handles, name=st.sampled_from(NAMES))
    def opened(self, name: str) -> Any:
        path = self.mount / self.folder.name / name
        if name not in self.model:
            with pytest.raises(FileNotFoundError):
                os.open(path, os.O_RDONLY)
            return multiple()
        handle = Handle(os.open(path, os.O_RDONLY), self.model[name], self.place(name).stat().st_ino)
        self.open.append(handle)
        return handle

    @rule(handle=handles, start=st.integers(0, SIZE), size=st.sampled_from([1, 5000, SIZE]))
    def read(self, handle: Handle, start: int, size: int) -> None:
        """Assert that reads return the bytes at the time of opening, or fail if the file was overwritten later."""
        try:
            found = os.pread(handle.descriptor, size, start)
        except OSError as error:
            if not handle.overwritten or error.errno not in (errno.ESTALE, errno.EIO):
                raise
        else:
            assert found == handle.content.original[start : start + size]

    @rule(handle=consumes(handles))
    def close(self, handle: Handle) -> None:
        os.close(handle.descriptor)
        self.open.remove(handle)


class TestMountedChanges(MountedChanges.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_a_file_replaced_while_it_is_open() -> None:
    """Pages of the old and the new file do not mix, in any order of reads."""
    folder = MountedChanges.archive / "replaced"
    folder.mkdir()
    size = 64 * 4096
    (folder / "x.dat").write_bytes(b"A" * size)
    shown = MountedChanges.mount / "replaced" / "x.dat"
    with shown.open("rb", buffering=0) as old:
        assert os.pread(old.fileno(), 4, 0) == b"AAAA"
        (folder / "draft").write_bytes(b"B" * size)
        (folder / "draft").replace(folder / "x.dat")
        with shown.open("rb", buffering=0) as new:
            assert os.pread(new.fileno(), 4, 0) == b"BBBB"
            assert os.pread(old.fileno(), 4, 50 * 4096) == b"AAAA"
            assert set(os.pread(new.fileno(), size, 0)) == {ord("B")}
            assert set(os.pread(old.fileno(), size, 0)) == {ord("A")}
    with shown.open("rb", buffering=0) as new:
        assert set(os.pread(new.fileno(), size, 0)) == {ord("B")}
