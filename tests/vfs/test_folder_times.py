"""Folders change their time only by what programs do in them."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from cryofs.storage import changes
from cryofs.storage.changes import Disk
from cryofs.vfs.archive_root import Root
from cryofs.vfs.folder_times import FolderTimes

OLD = 10**18


@pytest.fixture
def times(tmp_path: Path) -> Iterator[tuple[FolderTimes, Path]]:
    """The times of an archive, and the place of a folder in it, with an old time."""
    (tmp_path / "folder").mkdir()
    os.utime(tmp_path / "folder", ns=(OLD, OLD))
    root = Root(tmp_path)
    with contextlib.closing(root):
        yield FolderTimes(root), root.path / "folder"


def work_in(folder: Path) -> None:
    (folder / "draft").touch()
    (folder / "draft").unlink()
    assert folder.stat().st_mtime_ns > OLD


def test_a_folder_has_its_time_again_after_work_in_it(times: tuple[FolderTimes, Path]) -> None:
    kept, folder = times
    with kept.kept(folder):
        with kept.kept(folder):
            work_in(folder)
        assert folder.stat().st_mtime_ns > OLD  # until all work is done
    assert folder.stat().st_mtime_ns == OLD


def test_changes_by_programs_give_a_folder_its_time(times: tuple[FolderTimes, Path]) -> None:
    kept, folder = times
    with kept.kept(folder):
        kept.was_set(folder, OLD + 5)
        work_in(folder)
    assert folder.stat().st_mtime_ns == OLD + 5
    began = time.time_ns()
    with kept.kept(folder):
        with kept.changing(folder / "name", folder.parent / "other"):
            (folder / "name").touch()
        work_in(folder)
    assert began <= folder.stat().st_mtime_ns <= time.time_ns()
    os.utime(folder, ns=(OLD, OLD))
    with kept.changing(folder / "name"):
        with kept.kept(folder):
            work_in(folder)
        assert folder.stat().st_mtime_ns > OLD


def test_a_change_between_two_calls_is_not_undone(
    times: tuple[FolderTimes, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, folder = times

    class Meeting(Disk):
        def set_times_in(self, above: int, name: str, atime_ns: int | None, mtime_ns: int | None) -> None:
            if mtime_ns == OLD:
                with kept.changing(folder / "name"):
                    (folder / "name").touch()
            super().set_times_in(above, name, atime_ns, mtime_ns)

    monkeypatch.setattr(changes, "disk", Meeting())
    began = time.time_ns()
    with kept.kept(folder):
        work_in(folder)
    assert folder.stat().st_mtime_ns >= began


def test_work_that_begins_while_the_time_is_restored(
    times: tuple[FolderTimes, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, folder = times
    is_first_ending, is_second_ending, has_first_ended = threading.Event(), threading.Event(), threading.Event()
    second: list[Future[None]] = []

    def work() -> None:
        with kept.kept(folder):
            work_in(folder)

    class Overlapping(Disk):
        def set_times_in(self, above: int, name: str, atime_ns: int | None, mtime_ns: int | None) -> None:
            if is_first_ending.is_set():
                is_second_ending.set()
                assert has_first_ended.wait(10)
            else:
                is_first_ending.set()
                second.append(pool.submit(work))
                assert is_second_ending.wait(10)
            super().set_times_in(above, name, atime_ns, mtime_ns)

    monkeypatch.setattr(changes, "disk", Overlapping())
    with ThreadPoolExecutor(1) as pool:
        work()
        # the second still restores the time, and a third begins
        with kept.kept(folder):
            has_first_ended.set()
            second[0].result()
            with kept.changing(folder / "name"):
                (folder / "name").touch()
            changed = folder.stat().st_mtime_ns
    assert folder.stat().st_mtime_ns >= changed > OLD


def test_another_folder_of_the_name_is_left_alone(times: tuple[FolderTimes, Path]) -> None:
    kept, folder = times
    with kept.kept(folder):
        folder.rename(folder.with_name("renamed"))
        folder.mkdir()
        os.utime(folder, ns=(7, 7))
    assert folder.stat().st_mtime_ns == 7
    with kept.kept(folder):
        folder.rmdir()
