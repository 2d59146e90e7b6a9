"""The archive is looked at in the background; a second mount opens no file that the first one knew."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.config.settings import Settings, Size
from cryofs.errors import DamagedError
from cryofs.movies.archived import ArchivedProvider
from cryofs.movies.gain_library import GainLibrary
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.index_db import Index, index_path
from cryofs.vfs.indexer import Indexer
from tests.support import archive, listed_in, simulated, wait_for
from tests.vfs.serving import started

FALCON = Widths()
SHAPE = (64, 64)
MOVIES = 3


@pytest.fixture(name="target")
def made_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of two folders, with MRC and EER movies and a TIFF file of another program."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = tmp_path / "session"
    for number in range(MOVIES):
        simulated(session / "Movies" / f"{number}.mrc", frames=3, seed=number)
    write_eer(session / "a.eer", list(random_frames(45, SHAPE, 0.02, FALCON)), SHAPE, FALCON, xml=metadata(45, 1, 1))
    (session / "foreign.mrc.tif").write_bytes(b"no movie of ours")
    archive(session, tmp_path / "archive")
    return tmp_path / "archive"


def mounted(target: Path) -> AbstractContextManager[FileSystem]:
    return started(FileSystem(target, Settings(cache_size=Size(1 << 20), jobs=2)))


def kept(target: Path) -> int:
    """Entries of the index; another thread may be writing it."""
    with closing(Index(index_path(target))) as index:
        return len(list(index.entries()))


def shown(files: FileSystem) -> dict[str, Attributes]:
    """Names and attributes of all files."""
    found = {}
    for folder in ("/", "/Movies/"):
        for name, attributes in listed_in(files, folder):
            if attributes.is_file:
                found[folder + name] = files.attributes(folder + name)
    return found


def test_a_second_mount_reads_no_record(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(target) as files:
        wait_for(lambda: kept(target) == MOVIES + 2)
        expected = shown(files)
    assert expected["/Movies/0.mrc"].size == (target.parent / "session" / "Movies" / "0.mrc").stat().st_size

    def never(*arguments: object) -> None:
        raise AssertionError(f"read again: {arguments}")

    monkeypatch.setattr(ArchivedProvider, "probe", never)
    monkeypatch.setattr("cryofs.formats.eer.read_index", never)
    with mounted(target) as files:
        wait_for(lambda: len(files._indexer._kept) == MOVIES + 2)
        assert shown(files) == expected


def test_listings_do_not_wait_for_the_indexer(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda self: self._wake.wait())
    with mounted(target) as files:
        assert len(shown(files)) == MOVIES + 3


def test_facts_of_missing_or_changed_files_are_dropped_and_new_files_read(target: Path) -> None:
    with mounted(target) as files:
        wait_for(lambda: kept(target) == MOVIES + 2)
        (target / "a.eer").unlink()
        movie = target / "Movies" / "0.mrc.tif"
        movie.touch()
        shutil.copyfile(movie, target / "new.mrc.tif")
        (target / "damaged.mrc.tif").write_bytes(movie.read_bytes()[:5000])
        assert {"/new.mrc", "/foreign.mrc.tif", "/Movies/0.mrc"} <= shown_names(files)
        files.look_again()
        wait_for(lambda: kept(target) == MOVIES + 2 and "a.eer" not in shown_names(files))
    with mounted(target) as files:
        original = (target.parent / "session" / "Movies" / "0.mrc").stat()
        shown = files.attributes("/new.mrc")
        assert (shown.size, shown.mtime_ns) == (original.st_size, original.st_mtime_ns)
        wait_for(lambda: len(files._indexer._kept) == MOVIES + 2)


def test_facts_of_a_file_changed_between_mounts_are_dropped(target: Path) -> None:
    """Its size and time are those of the index still, as where a backup was put back; its time of change is not."""
    movie = target / "Movies" / "0.mrc.tif"
    with mounted(target):
        wait_for(lambda: kept(target) == MOVIES + 2)
    before = movie.stat()
    with movie.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([movie.read_bytes()[-1] ^ 1]))
    os.utime(movie, ns=(before.st_atime_ns, before.st_mtime_ns))
    with mounted(target) as files:
        wait_for(lambda: kept(target) == MOVIES + 1)
        assert files.attributes("/Movies/0.mrc").size == 1
        with pytest.raises(DamagedError):
            files.open("/Movies/0.mrc")


def shown_names(files: FileSystem) -> set[str]:
    return {folder + name for folder in ("/", "/Movies/") for name, _ in listed_in(files, folder)}


def test_the_indexer_ends_with_the_mount(target: Path) -> None:
    for number in range(2000):
        (target / f"{number}.mrc.tif").symlink_to("Movies/0.mrc.tif")
        shutil.copyfile(target / "foreign.mrc.tif", target / f"copy-{number}.mrc.tif")
    with mounted(target):
        pass
    with mounted(target):
        wait_for(lambda: kept(target) == MOVIES + 2 + 2000)


def test_the_indexer_survives_any_error(
    target: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Index, "entries", lambda _: 1 / 0)
        patch.setattr(Root, "entries", lambda *_: 1 / 0)
        with mounted(target) as files:
            wait_for(lambda: caplog.text.count("ZeroDivisionError") == 2)
            assert [line.levelname for line in caplog.records if line.exc_info] == ["ERROR"] * 2
            patch.undo()
            files.look_again()
            wait_for(lambda: kept(target) == MOVIES + 2)


def test_facts_are_stored_when_a_process_ends_during_a_scan(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on, real = threading.Event(), threading.Event(), Indexer._learn

    def learn(indexer: Indexer, suffix: str, path: Path, found: os.stat_result) -> bytes | None:
        value = real(indexer, suffix, path, found)
        if not reading.is_set():
            reading.set()
            go_on.wait()
        return value

    monkeypatch.setattr(Indexer, "_learn", learn)
    monkeypatch.setattr("cryofs.vfs.file_system._LAST_SECONDS", 20)
    with mounted(target) as files:
        wait_for(reading.is_set)
        ending = threading.Thread(target=files.abandon)
        ending.start()
        wait_for(lambda: files._indexer._stopped)
        go_on.set()
        ending.join()
        assert kept(target) == 1


def test_storage_that_hangs_keeps_no_mount_from_ending(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where folders are listed, nor where a gain reference is loaded."""
    free, hanging = threading.Event(), [threading.Event(), threading.Event()]

    def hang(what: threading.Event) -> Iterator[tuple[str, os.stat_result]]:
        what.set()
        free.wait()
        return iter(())

    monkeypatch.setattr("cryofs.vfs.file_system._ENDING_SECONDS", 0.1)
    monkeypatch.setattr(Root, "entries", lambda *_: hang(hanging[0]))
    monkeypatch.setattr(GainLibrary, "preload", lambda *_: hang(hanging[1]))
    files = FileSystem(target, Settings(jobs=1))
    files.start()
    wait_for(lambda: all(each.is_set() for each in hanging))
    stopping = threading.Thread(target=files.stop, daemon=True)
    stopping.start()
    stopping.join(20)
    ended = not stopping.is_alive()
    free.set()
    assert ended
