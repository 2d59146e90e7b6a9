"""How far it is from a request of the kernel to storage: few calls, one thread hop, and none if the bytes are there."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cryofs
from benchmarks.simulate import Detector, write_movie
from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.config.settings import Settings
from cryofs.fuse.operations import Operations
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.io_executor import IoExecutor
from tests import faults
from tests.foreign import write_tiff
from tests.support import archive
from tests.vfs.serving import started

PACKAGE = str(Path(cryofs.__file__).parent)
MOST_CALLS = 10
SHAPE = (1100, 256)
# an archived movie, its counts, a TIFF movie of another program, EER fractions
MOVIES = ["/movie.mrc", "/@counts/movie.mrc", "/tiff.mrc", "/rays.mrc"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = tmp_path_factory.mktemp("path") / "session"
    session.mkdir()
    # defects are exceptions, which are read from a place of their own
    write_movie(session / "movie.mrc", Detector.make(SHAPE, 50), 4)
    write_tiff(session / "tiff.tif", np.ones((4, *SHAPE), np.uint8), rowsperstrip=100)
    write_eer(session / "rays.eer", list(random_frames(160, (64, 64), 0.02, Widths())), (64, 64), Widths())
    archive(session, session.with_name("archive"))
    return session.with_name("archive")


@pytest.fixture
def files(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileSystem]:
    """An archive that is read by nothing but the test."""
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    monkeypatch.setattr("cryofs.vfs.file_system.FileSystem._prepare", lambda _: None)
    with started(FileSystem(place, Settings(jobs=2))) as made:
        yield made


class Mount:
    """The operations of a mount, without FUSE, and one open file."""

    def __init__(self, files: FileSystem, name: str):
        loading: Any = SimpleNamespace(files=lambda: files)
        self._operations = Operations(loading, 1 << 20, lambda: None, lambda: None)
        self._name, self._info = name, SimpleNamespace(flags=0, fh=0)
        self._operations.open(name, self._info)
        self.size = files.attributes(name).size

    def read(self, size: int, offset: int) -> bytes:
        buffers = ctypes.c_void_p()
        self._operations.read_buf(self._name, ctypes.byref(buffers), size, offset, self._info)
        assert buffers.value is not None
        # struct fuse_bufvec: count, index, offset, and of its only buffer size, flags, memory
        count, _, _, found, _, memory = (ctypes.c_size_t * 6).from_address(buffers.value)
        assert count == 1
        assert memory % os.sysconf("SC_PAGE_SIZE") == 0
        data = ctypes.string_at(memory, found)
        free = ctypes.CDLL(None).free
        for place in (memory, buffers.value):
            free(ctypes.c_void_p(place))
        return data

    def close(self) -> None:
        self._operations.release(self._name, self._info)


def calls(frame: FrameType | None) -> list[str]:
    """Functions of cryofs on a stack, the innermost first, down to the operation."""
    found = []
    while frame is not None and frame.f_code.co_qualname != "Operations.read_buf":
        if frame.f_code.co_filename.startswith(PACKAGE):
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return found


@pytest.mark.parametrize("name", MOVIES)
@pytest.mark.parametrize("is_sequential", [False, True])
def test_few_calls_and_one_hop_to_storage(
    files: FileSystem, monkeypatch: pytest.MonkeyPatch, name: str, is_sequential: bool
) -> None:
    # read-ahead has threads of its own
    monkeypatch.setattr(files._cache, "prefetch", lambda *_: None)
    waiting: list[list[str]] = []
    run_elsewhere = IoExecutor.run

    def run(self: IoExecutor, *arguments: Any, **named: Any) -> Any:
        waiting.append(["IoExecutor.run", *calls(sys._getframe())])
        return run_elsewhere(self, *arguments, **named)

    # noted before the reader waits: sys._current_frames may block all threads for ever
    monkeypatch.setattr(IoExecutor, "run", run)
    mount = Mount(files, name)
    frame_bytes = (mount.size - 1024) // 4
    # the header and, of an archived movie, the gain reference are loaded once
    mount.read(4096, 0)
    reader, paths = threading.get_ident(), []

    def note(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        here = calls(sys._getframe())
        if threading.get_ident() != reader:
            # what another thread reads, the reader waits for
            here += waiting[-1]
        paths.append(here)
        return call(*arguments)

    faults.inject(monkeypatch, note)
    if is_sequential:
        monkeypatch.setattr("cryofs.vfs.read_pattern.SEQUENTIAL_BYTES", 0)
        mount.read(4096, 4096)
    mount.read(4096, 1024 + 2 * frame_bytes)
    mount.close()
    assert paths
    for path in paths:
        assert "FileSystem.read" in path
        assert len(path) <= MOST_CALLS, path
        assert path.count("IoExecutor.run") == 1, "one hop"


def fail(self: IoExecutor, name: str, *_: object) -> None:
    raise AssertionError(f"{name}: another thread was used")


@pytest.mark.parametrize("name", MOVIES)
def test_no_hop_to_what_is_cached(files: FileSystem, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mount = Mount(files, name)
    places = (0, 512, 5000, mount.size - 4096)
    expected = [mount.read(4096, offset) for offset in places]
    monkeypatch.setattr(IoExecutor, "run", fail)
    assert [mount.read(4096, offset) for offset in places] == expected
    mount.close()


def test_no_hop_to_a_plain_file_that_the_kernel_has_in_memory(
    place: Path, files: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (place / "movie.mrc.tif").read_bytes()
    with LocalFile.open(place / "movie.mrc.tif") as source:
        if source.read_cached(100, 0) is None:
            pytest.skip("this file system does not report what is in memory")
    mount = Mount(files, "/@archive/movie.mrc.tif")
    monkeypatch.setattr(IoExecutor, "run", fail)
    for offset in (0, 4096, len(data) - 10, len(data)):
        assert mount.read(4096, offset) == data[offset : offset + 4096]
    mount.close()


def test_a_plain_file_that_is_not_in_memory_is_read_by_another_thread(
    place: Path, files: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount(files, "/@archive/movie.mrc.tif")
    threads: list[str] = []

    def note(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        threads.append(threading.current_thread().name)
        return call(*arguments)

    faults.inject(monkeypatch, note)
    assert mount.read(4096, 0) == (place / "movie.mrc.tif").read_bytes()[:4096]
    assert threads == ["reading"]
    mount.close()
