"""The file system against simple models: any movie and any read of it; any order of reads and changes."""

import os
import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.config.settings import Settings, Size
from cryofs.errors import ChangedError
from cryofs.vfs.file_system import FileSystem
from tests.support import archive, listed_in
from tests.vfs.serving import started

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}
CODINGS = [Coding(), Coding("lzw"), Coding("none"), Coding("deflate", 6), Coding("auto", None, True)]


@dataclass(frozen=True)
class Original:
    """Bytes of an MRC file, and how to archive it."""

    data: bytes
    options: CompressOptions


@st.composite
def originals(draw: st.DrawFn) -> Original:
    """Movies of any mode and byte order, with any header, exceptions and trailing bytes; with a gain or without."""
    mode = draw(st.sampled_from(sorted(MODES)))
    frames, ny, nx = draw(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values: NDArray[Any] = rng.poisson(draw(st.sampled_from([0.1, 1.5, 300.0])), (frames, ny, nx))
    if mode == 2 and draw(st.booleans()):
        detector = Detector.make(
            (ny, nx), defects=1, arithmetic=draw(st.sampled_from(["single", "double", "reciprocal"]))
        )
        values = np.stack([detector.values(frame) for frame in values])
    order = draw(st.sampled_from("<>"))
    if mode == 101:
        values = np.pad(values.clip(0, 15), ((0, 0), (0, 0), (0, nx % 2))).astype("u1")
        values = values[:, :, 0::2] | values[:, :, 1::2] << 4
    else:
        with np.errstate(over="ignore"):
            values = values.astype(MODES[mode])
    odd = draw(st.integers(0, 3))
    pixels = bytearray(values.astype(values.dtype.newbyteorder(order)).tobytes())  # type: ignore[arg-type]
    for _ in range(odd):
        pixels[draw(st.integers(0, len(pixels) - 1))] = draw(st.integers(0, 255))
    extended, tail = draw(st.binary(max_size=300)), draw(st.binary(max_size=300))
    head = header((frames, ny, nx), mode, byte_order=order, extended=extended, kind=b"FEI1")
    return Original(head + bytes(pixels) + tail, CompressOptions(coding=draw(st.sampled_from(CODINGS)), jobs=1))


def shown(target: Path, cache_size: int = 1 << 20) -> AbstractContextManager[FileSystem]:
    return started(FileSystem(target, Settings(cache_size=Size(cache_size), jobs=1)))


@settings(max_examples=60)
@given(originals(), st.data(), st.sampled_from([1, 1 << 20]))
def test_any_read_of_any_movie(original: Original, data: st.DataObject, cache_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "movie.mrc", Path(folder) / "archive"
        source.write_bytes(original.data)
        summary, reported = archive(source, target, original.options)
        assert summary.movies == 1, reported.errors
        with shown(target, cache_size) as files:
            size = len(original.data)
            assert files.attributes("/movie.mrc").size == size
            handle = files.open("/movie.mrc")
            assert bytes(files.read(handle, size, 0)) == original.data
            for _ in range(data.draw(st.integers(1, 6))):
                offset, count = data.draw(st.integers(0, size + 9)), data.draw(st.integers(0, size + 9))
                assert bytes(files.read(handle, count, offset)) == original.data[offset : offset + count]
            files.release(handle)


# the names that come and go, and what they may hold
NAMES = ("a.mrc", "b.mrcs", "c.mrc")
CONTENTS = 5
SHAPE = (3, 20, 17)


@dataclass(frozen=True)
class Content:
    """An original, and the file of an archive that holds it."""

    original: bytes
    stored: bytes


@pytest.fixture(scope="module", autouse=True)
def made_contents(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("contents")
    for number in range(CONTENTS):
        values = np.random.default_rng(number).poisson(1.4, SHAPE).astype("i1")
        source = folder / f"{number}.mrc"
        source.write_bytes(header(SHAPE, 0) + values.tobytes() + bytes(range(number)))
        coding = Coding("lzw" if number % 2 else "deflate")
        archive(source, folder / "archive", CompressOptions(coding=coding, jobs=1))
        stored = (folder / "archive" / f"{number}.mrc.tif").read_bytes()
        Changes.contents.append(Content(source.read_bytes(), stored))


@dataclass
class Handle:
    """An open file: its number, what it was opened on, and whether that was overwritten since."""

    number: int
    content: Content
    inode: int
    overwritten: bool = False


class Changes(RuleBasedStateMachine):
    """An archive that changes while it is read; the model is a dictionary of names and contents."""

    contents: list[Content] = []  # noqa: RUF012
    handles = Bundle("handles")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "archive").mkdir()
        self.files = FileSystem(self.folder / "archive", Settings(cache_size=Size(3 * 340), jobs=1))
        self.files.start()
        self.model: dict[str, Content] = {}
        self.open: list[Handle] = []
        self.time = 1_700_000_000_000_000_000

    def teardown(self) -> None:
        self.files.stop()
        shutil.rmtree(self.folder)

    def place(self, name: str) -> Path:
        return self.folder / "archive" / f"{name}.tif"

    def touch(self, path: Path) -> None:
        """Give a file a time of its own, as the clock of a busy machine may not."""
        self.time += 1_000_000
        os.utime(path, ns=(self.time, self.time))

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, CONTENTS - 1))
    def put(self, name: str, number: int) -> None:
        """Add a movie, or replace one, by a rename."""
        draft = self.folder / "draft"
        draft.write_bytes(self.contents[number].stored)
        self.touch(draft)
        draft.replace(self.place(name))
        self.model[name] = self.contents[number]

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, CONTENTS - 1))
    def overwrite(self, name: str, number: int) -> None:
        """Write another movie into the same file."""
        if name not in self.model:
            return
        inode = self.place(name).stat().st_ino
        self.place(name).write_bytes(self.contents[number].stored)
        self.touch(self.place(name))
        self.model[name] = self.contents[number]
        for handle in self.open:
            handle.overwritten |= handle.inode == inode

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.place(name).unlink(missing_ok=True)
        self.model.pop(name, None)

    @rule()
    def look_again(self) -> None:
        self.files.look_again()

    @rule(target=handles, name=st.sampled_from(NAMES))
    def opened(self, name: str) -> Any:
        if name not in self.model:
            with pytest.raises(FileNotFoundError):
                self.files.open(f"/{name}")
            return multiple()
        handle = Handle(self.files.open(f"/{name}"), self.model[name], self.place(name).stat().st_ino)
        self.open.append(handle)
        return handle

    @rule(handle=handles, start=st.integers(0, 2100), size=st.integers(0, 2100))
    def read(self, handle: Handle, start: int, size: int) -> None:
        """Bytes as they were when the file was opened, or an error where it was overwritten since."""
        try:
            found = bytes(self.files.read(handle.number, size, start))
        except ChangedError:
            assert handle.overwritten
        else:
            assert found == handle.content.original[start : start + size]

    @rule(handle=consumes(handles))
    def close(self, handle: Handle) -> None:
        self.files.release(handle.number)
        self.open.remove(handle)

    @invariant()
    def names_and_attributes_are_those_of_now(self) -> None:
        if hasattr(self, "files"):
            assert [name for name, _ in listed_in(self.files, "/")] == sorted(self.model)
            for name, content in self.model.items():
                assert self.files.attributes(f"/{name}").size == len(content.original)


class TestChanges(Changes.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
