"""The end of a writable mount while its ingester or its storage is busy: what was begun ends, nothing else waits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cryofs.errors import ChangedError
from cryofs.execution.messages import Done
from cryofs.ingest import children, in_background
from cryofs.ingest.draft import Ready
from cryofs.vfs import leaving_names
from tests.ingest.mounts import archive_now, writable
from tests.support import wait_for, written_movie

SECONDS = 30


class Starting:
    """Processes that take forever to start, as with a cold cache of compiled code."""

    begun, released = threading.Event(), threading.Event()

    def __init__(self, count: int):
        pass

    def run(self, *_: object) -> Iterator[Any]:
        self.begun.set()
        assert self.released.wait(2 * SECONDS)
        yield from ()


def test_the_end_does_not_wait_for_children_that_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_movie(tmp_path / "archive" / "X.mrc")
    monkeypatch.setattr(children, "Processes", Starting)
    monkeypatch.setattr(in_background, "_LAST_SECONDS", 2 * SECONDS)
    with ThreadPoolExecutor(1) as pool:
        try:
            with writable(tmp_path / "archive", settle=0) as files:
                assert Starting.begun.wait(SECONDS)
                pool.submit(files.archived.stop).result(SECONDS)
        finally:
            Starting.released.set()
    assert [path.name for path in (tmp_path / "archive").iterdir()] == ["X.mrc"]


def test_no_step_begins_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft that is complete by then is removed."""
    plain = written_movie(tmp_path / "archive" / "X.mrc")
    with writable(tmp_path / "archive", settle=1000) as files:
        parts = files.attribute_changes._parts
        made = children.Children(parts, files._settings, lambda *_: None)
        made.stop(SECONDS)

        class Ended:
            def __init__(self, count: int):
                pass

            def run(self, make: children.Nice[Path, Ready], tasks: Iterator[Path], *_: object) -> Iterator[Any]:
                plain = next(tasks)
                yield plain, Done(make.perform(plain, lambda _: None))

        monkeypatch.setattr(children, "Processes", Ended)
        ((_, error),) = made.archive(iter([parts.root.path / "X.mrc"]), frozenset(), lambda: None)
        assert isinstance(error, ChangedError)
        assert [path.name for path in (tmp_path / "archive").iterdir()] == [plain.name]
        archive_now(files, "X.mrc")


def test_the_end_does_not_wait_for_a_removal_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving_names, "_SECONDS", 1000)
    monkeypatch.setattr(leaving_names, "_LAST_SECONDS", 0.01)
    released, removed = threading.Event(), []

    def remove(place: Path) -> None:
        assert released.wait(SECONDS)
        removed.append(place.name)

    names = leaving_names.LeavingNames(remove)
    names.start()
    for name in ("a", "b"):
        names.add(Path(name))
    names.stop()
    assert not removed
    released.set()
    wait_for(lambda: removed == ["a", "b"])
