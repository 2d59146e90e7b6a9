"""Archived movies become plain files again when programs change them."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryofs.archive.verify import feed
from cryofs.errors import DamagedError, StuckError
from cryofs.ingest import thaw
from cryofs.system import deadlines
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import after_kills, writable
from tests.support import archive, simulated, written_movie
from tests.vfs.serving import content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with a movie of counts and a gain-normalised movie, next to their originals."""
    folder = tmp_path_factory.mktemp("thaw")
    written_movie(folder / "session" / "X.mrc")
    simulated(folder / "session" / "sub" / "G.mrc")
    os.utime(folder / "session" / "X.mrc", ns=(5, 10**18 + 7))
    (folder / "session" / "X.mrc").chmod(0o640)
    archive(folder / "session", folder / "archive")
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "archive", tmp_path / "archive"))


def write(path: str, offset: int, data: bytes) -> Callable[[WritableFileSystem], None]:
    def change(files: WritableFileSystem) -> None:
        handle = files.open(path, os.O_RDWR)
        try:
            files.write(handle, memoryview(data), offset)
        finally:
            files.release(handle)

    return change


@pytest.mark.parametrize("name", ["X.mrc", "sub/G.mrc"])
def test_a_write_in_the_middle(made: Path, copied: Path, name: str) -> None:
    data = bytearray((made / "session" / name).read_bytes())
    with writable(copied, settle=1000) as files:
        reader = files.open(f"/{name}")
        assert bytes(files.read(reader, 5000, 100)) == data[100:5100]
        write(f"/{name}", 3000, b"changed")(files)
        data[3000:3007] = b"changed"
        assert bytes(files.read(reader, 5000, 100)) == data[100:5100]
        files.release(reader)
        assert content(files, f"/{name}") == data
    assert (copied / name).read_bytes() == data
    assert not (copied / f"{name}.tif").exists()


def test_a_thaw_outlives_its_request(made: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel that limits requests, with a large movie: the program opens the file again."""
    released, begun = threading.Event(), []

    def slow(*arguments: Any) -> None:
        begun.append(arguments)
        assert released.wait(30)
        feed(*arguments)

    monkeypatch.setattr(thaw, "feed", slow)
    with writable(copied, settle=1000) as files:
        for _ in range(2):
            with pytest.raises(StuckError, match=r"X\.mrc: .*retry later"), deadlines.within(0.01):
                files.open("/X.mrc", os.O_RDWR)
        assert content(files, "/X.mrc") == (made / "session" / "X.mrc").read_bytes()
        released.set()
        with deadlines.within(30):
            write("/X.mrc", 3000, b"changed")(files)
        assert content(files, "/X.mrc")[3000:3007] == b"changed"
    assert len(begun) == 1


def test_a_thawed_movie_has_the_attributes_of_the_original(made: Path, copied: Path) -> None:
    os.setxattr(copied / "X.mrc.tif", "user.note", b"kept")
    with writable(copied, settle=1000) as files:
        files.release(files.open("/X.mrc", os.O_RDWR))
    original, found = (made / "session" / "X.mrc").stat(), (copied / "X.mrc").stat()
    assert (found.st_mtime_ns, found.st_mode) == (original.st_mtime_ns, original.st_mode)
    assert (copied / "X.mrc").read_bytes() == (made / "session" / "X.mrc").read_bytes()
    assert os.getxattr(copied / "X.mrc", "user.note") == b"kept"


def test_truncation_needs_no_decode(copied: Path) -> None:
    data = bytearray((copied / "X.mrc.tif").read_bytes())
    data[1000:1200] = bytes(200)
    (copied / "X.mrc.tif").write_bytes(data)
    with writable(copied, settle=1000) as files:
        with pytest.raises(DamagedError):
            files.open("/X.mrc", os.O_RDWR)
        assert (copied / "X.mrc.tif").read_bytes() == data
        handle = files.open("/X.mrc", os.O_WRONLY | os.O_TRUNC)
        files.write(handle, memoryview(b"new"), 0)
        files.release(handle)
    assert (copied / "X.mrc").read_bytes() == b"new"
    assert sorted(path.name for path in copied.glob("X*")) == ["X.mrc"]


@pytest.mark.parametrize("flags", [0, os.O_TRUNC])
def test_a_kill_leaves_the_old_or_the_new_content(made: Path, tmp_path: Path, flags: int) -> None:
    old = (made / "session" / "X.mrc").read_bytes()
    new = b"" if flags else old

    def make() -> Path:
        shutil.rmtree(tmp_path / "archive", ignore_errors=True)
        (tmp_path / "archive").mkdir()
        shutil.copy2(made / "archive" / "X.mrc.tif", tmp_path / "archive")
        return tmp_path / "archive"

    seen = []
    for calls, found in after_kills(make, lambda files: files.release(files.open("/X.mrc", os.O_RDWR | flags))):
        assert found in ({"X.mrc": old}, {"X.mrc": new}), calls
        seen.append(found["X.mrc"])
    assert seen[0] == old
    assert seen[-1] == new
    assert len(seen) > 10
    assert not (tmp_path / "archive" / "X.mrc.tif").exists()
