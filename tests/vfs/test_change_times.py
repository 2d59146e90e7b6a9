"""Change times: they stay while a file is read, as far as its content does."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests.support import archive, put_back, simulated
from tests.vfs.serving import started, write_movie

MADE = ["/a.mrc", "/@counts/a.mrc", "/c.mrc"]
STORED = {"/a.mrc": "a.mrc.tif", "/@counts/a.mrc": "a.mrc.tif", "/c.mrc": "c.eer", "/notes.txt": "notes.txt"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    simulated(tmp_path / "session" / "a.mrc", frames=16)
    (tmp_path / "session" / "notes.txt").write_text("300 kV")
    archive(tmp_path / "session", tmp_path / "archive")
    write_movie(tmp_path / "archive" / "c.eer")
    return tmp_path / "archive"


@pytest.fixture
def files(place: Path) -> Iterator[FileSystem]:
    with started(FileSystem(place, Settings(jobs=1, eer_grouping=4))) as made:
        yield made


def link(path: Path) -> None:
    os.link(path, path.with_name("another link"))


def change_mode(path: Path) -> None:
    path.chmod(0o640)


def rename(path: Path) -> None:
    path.rename(path.with_name("another name"))


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def until_it_moves(path: Path, change: Callable[[Path], None]) -> None:
    """Make a change that moves the change time of a file, whose clock ticks every few milliseconds."""
    before = path.stat().st_ctime_ns
    probe = path.with_name("probe")
    while True:
        probe.touch()
        if probe.stat().st_ctime_ns > before:
            break
    probe.unlink()
    change(path)


@pytest.mark.parametrize("change", [link, change_mode])
@pytest.mark.parametrize("name", [*MADE, "/notes.txt"])
def test_a_reader_sees_no_change_of_what_is_not_content(
    place: Path, files: FileSystem, name: str, change: Callable[[Path], None]
) -> None:
    stored = place / STORED[name]
    found = files.attributes(name)
    before = found.ctime_ns, found.inode
    handles = [files.open(name), files.open(name)]
    until_it_moves(stored, change)
    assert stored.stat().st_ctime_ns != found.ctime_ns
    for _ in range(2):
        by_handle, by_name = files.open_attributes(handles[-1]), files.attributes(name)
        assert (by_handle.ctime_ns, by_handle.inode) == (by_name.ctime_ns, by_name.inode) == before
        files.release(handles.pop())
    assert files.attributes(name).ctime_ns == stored.stat().st_ctime_ns


@pytest.mark.parametrize("change", [rename, replace])
@pytest.mark.parametrize("name", MADE)
def test_a_reader_keeps_what_it_opened(
    place: Path, files: FileSystem, name: str, change: Callable[[Path], None]
) -> None:
    handle = files.open(name)
    before = files.open_attributes(handle)
    until_it_moves(place / STORED[name], change)
    assert files.open_attributes(handle) == before
    files.release(handle)


def test_a_plain_file_that_was_overwritten_shows_it(place: Path, files: FileSystem) -> None:
    handle = files.open("/notes.txt")
    before = files.open_attributes(handle).ctime_ns
    put_back(place / "notes.txt", b"200 kV")
    assert files.open_attributes(handle).ctime_ns == files.attributes("/notes.txt").ctime_ns != before
    with (place / "notes.txt").open("ab") as file:
        file.write(b", K2")
    now = files.open_attributes(handle)
    assert (now.size, now.ctime_ns) == (10, (place / "notes.txt").stat().st_ctime_ns)
    files.release(handle)


def test_a_file_that_is_replaced_while_it_is_opened_has_the_attributes_of_the_new_one(
    place: Path, files: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files._root.open

    def replaced_first(path: Path) -> LocalFile:
        if path.name == "notes.txt" and not (place / "old").exists():
            (place / "notes.txt").rename(place / "old")
            (place / "notes.txt").write_text("another microscope")
        return real(path)

    monkeypatch.setattr(files._root, "open", replaced_first)
    handle = files.open("/notes.txt")
    assert bytes(files.read(handle, 100, 0)) == b"another microscope"
    assert files.open_attributes(handle).inode == (place / "notes.txt").stat().st_ino
    files.release(handle)


def test_storage_whose_inodes_are_never_the_same_is_taken_as_it_is(
    place: Path, files: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files._root.open

    def replaced_first(path: Path) -> LocalFile:
        replace(place / "notes.txt")
        return real(path)

    monkeypatch.setattr(files._root, "open", replaced_first)
    handle = files.open("/notes.txt")
    assert bytes(files.read(handle, 100, 0)) == b"300 kV"
    files.release(handle)
