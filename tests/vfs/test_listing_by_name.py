"""Listings of large folders: names by themselves until the records are known."""

import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs import listing
from cryofs.vfs.archive_root import Root
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.indexer import Indexer
from cryofs.vfs.record_batches import RecordBatches
from tests.foreign import counts, write_tiff
from tests.support import archive, entries, simulated, wait_for
from tests.vfs.serving import started, write_movie

MOVIES = 1300
READ = 1024


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of one folder with many movies, which are copies of one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    simulated(tmp_path / "session" / "0000.mrc", frames=2)
    archive(tmp_path / "session", tmp_path / "archive")
    for number in range(1, MOVIES):
        shutil.copy(tmp_path / "archive" / "0000.mrc.tif", tmp_path / "archive" / f"{number:04}.mrc.tif")
    return tmp_path / "archive"


@pytest.fixture
def files(large: Path) -> Iterator[FileSystem]:
    """A file system without background reading."""
    files = FileSystem(large, Settings(jobs=1))
    yield files
    files._root.close()


def test_a_listing_of_many_names_does_not_wait_for_their_records(
    files: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_file = Root.open

    def opening(root: Root, place: Path) -> LocalFile:
        opened.append(place.name)
        return open_file(root, place)

    monkeypatch.setattr(Root, "open", opening)
    found = entries(files, "/")
    assert [entry.name for entry in found] == [f"{number:04}.mrc" for number in range(MOVIES)]
    assert len([name for name in opened if name.endswith(".tif")]) <= READ
    complete = [entry.is_complete for entry in found]
    assert complete[0]
    assert not complete[-1]
    for entry in found[:: MOVIES // 20]:
        expected = files.attributes(f"/{entry.name}")
        same = (entry.attributes.inode, stat.S_IFMT(entry.attributes.mode))
        assert same == (expected.inode, stat.S_IFMT(expected.mode))


@pytest.fixture
def by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """No listing reads a record."""
    monkeypatch.setattr(listing, "_MOST_RECORDS", 0)


@pytest.mark.usefixtures("by_name")
def test_requests_in_the_order_of_a_listing_read_records_in_batches(files: FileSystem) -> None:
    def known() -> int:
        return sum(len(table._table) for table in files._tree.facts._tables.values())

    assert not any(entry.is_complete for entry in entries(files, "/"))
    assert known() == 0
    for number, count in ((0, 64), (1, 64), (64, 128), (1000, 129), (1001, 193)):
        assert files.attributes(f"/{number:04}.mrc").size > 1
        assert known() == count
    assert sum(entry.is_complete for entry in entries(files, "/")) == 193


def test_requests_in_order_are_found() -> None:
    names = [f"{number:03}" for number in range(300)]
    folder = Path("/folder")
    batches = RecordBatches()
    assert not batches.is_used
    batches.add(folder, names)
    assert batches.is_used
    assert batches.after(folder / "000") == names[:64]
    # those that are known by now are not requested again
    assert batches.after(folder / "064") == names[64:128]
    assert batches.after(folder / "250") == []
    assert batches.after(folder / "252") == names[252:]
    assert batches.after(Path("/other/000")) == []
    batches.add(folder, names)
    assert batches.after(folder / "000") == []


@pytest.mark.usefixtures("by_name")
def test_names_of_all_kinds(tmp_path: Path) -> None:
    """Names alone show what records show, for an archive that compress made."""
    session = tmp_path / "session"
    simulated(session / "archived.mrc", frames=2)
    write_tiff(session / "foreign.tif", counts())
    write_tiff(session / "kept.mrc.tif", counts())
    write_movie(session / "rendered.eer")
    (session / "notes.txt").write_text("300 kV")
    (session / "folder.mrc.tif").mkdir()
    (session / "link.mrc").symlink_to("archived.mrc")
    archive(session, tmp_path / "archive")
    files = FileSystem(tmp_path / "archive", Settings(jobs=1))
    before = entries(files, "/")
    for entry in before:
        files.attributes(f"/{entry.name}")
    after = entries(files, "/")
    assert [(entry.name, entry.attributes.inode) for entry in before] == [
        (entry.name, entry.attributes.inode) for entry in after
    ]
    assert {entry.name for entry in before} >= {
        "kept.mrc.tif",
        "kept.mrc",
        "foreign.mrc",
        "rendered.mrc",
        "archived.mrc",
    }
    assert {entry.name for entry in before if not entry.is_complete} == {
        "archived.mrc",
        "foreign.mrc",
        "kept.mrc",
        "rendered.mrc",
    }
    files._root.close()


@pytest.mark.usefixtures("by_name")
def test_a_listing_waits_for_the_index(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(FileSystem(large, Settings(jobs=1))) as files:
        wait_for(lambda: len(files._indexer._kept) == MOVIES)
    recall, go_on = Indexer._recall, threading.Event()

    def waiting(indexer: Indexer, index: object) -> None:
        go_on.wait(20)
        recall(indexer, index)  # type: ignore[arg-type]

    monkeypatch.setattr(Indexer, "_recall", waiting)
    with started(FileSystem(large, Settings(jobs=1))) as files, ThreadPoolExecutor(1) as pool:
        found = pool.submit(entries, files, "/")
        time.sleep(0.05)
        assert not found.done()
        go_on.set()
        assert all(entry.is_complete for entry in found.result(20))


@pytest.mark.usefixtures("by_name")
def test_a_name_that_turns_out_to_be_no_movie_is_gone(tmp_path: Path) -> None:
    write_tiff(tmp_path / "image.tif", counts((1, 48, 35)))
    files = FileSystem(tmp_path, Settings(jobs=1))
    assert [entry.name for entry in entries(files, "/")] == ["image.mrc", "image.tif"]
    with pytest.raises(FileNotFoundError):
        files.attributes("/image.mrc")
    assert [entry.name for entry in entries(files, "/")] == ["image.tif"]
    assert os.listdir(tmp_path) == ["image.tif"]
    files._root.close()
