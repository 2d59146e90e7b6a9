"""Storage that hangs: its readers get an error in time, and no other reader waits."""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.config.settings import Settings, Size
from cryofs.errors import StuckError
from cryofs.system import deadlines
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.io_executor import IoExecutor
from tests import faults
from tests.support import archive, listed_in, simulated, wait_for

SOON = 0.3


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """Set when storage is to answer again; nothing stays stuck behind the test."""
    event = threading.Event()
    yield event
    event.set()


def test_results_and_errors_are_those_of_the_call() -> None:
    io = IoExecutor(60)
    assert io.run("a", lambda: 5) == 5
    with pytest.raises(TimeoutError, match="of the call itself"):
        io.run("a", lambda: (_ for _ in ()).throw(TimeoutError("of the call itself")))
    before = threading.active_count()
    assert {io.run("a", threading.get_ident) for _ in range(20)}
    assert threading.active_count() == before, "threads are used again"
    io.end()
    wait_for(lambda: threading.active_count() < before)


def test_a_request_with_a_deadline_waits_no_longer(free: threading.Event) -> None:
    io = IoExecutor(60)
    with deadlines.within(SOON), pytest.raises(StuckError):
        io.run("a.tif", free.wait)
    with deadlines.within(0), pytest.raises(StuckError):
        io.run("b.tif", lambda: "fine")
    assert io.run("b.tif", lambda: "fine") == "fine"


def test_many_hanging_files_leave_time_for_requests_that_waited(free: threading.Event) -> None:
    """The kernel counts the time of a request from when it was made, however late a thread receives it."""
    io = IoExecutor(8.0)
    for number in range(4):
        with deadlines.within(0.05), pytest.raises(StuckError):
            io.run(f"{number}.tif", free.wait)
    began = time.monotonic()
    with deadlines.within(60), pytest.raises(StuckError):
        io.run("another.tif", free.wait)
    assert time.monotonic() - began < 8.0
    assert io.run("fine.tif", lambda: "fine") == "fine"


def test_readers_of_a_stuck_file_get_an_error_and_others_go_on(free: threading.Event) -> None:
    io = IoExecutor(SOON)
    with ThreadPoolExecutor(3) as readers:
        stuck = [readers.submit(io.run, "a.tif", free.wait, ", frame 3") for _ in range(3)]
        assert io.run("b.tif", lambda: "fine") == "fine"
        for one in stuck:
            with pytest.raises(StuckError, match=r"a\.tif, frame 3: .* within 0\.3 s; check that"):
                one.result()
    called = []
    with pytest.raises(StuckError):
        io.run("a.tif", lambda: called.append(1))
    assert not called, "the file is stuck: no reader waits for it again"
    free.set()
    wait_for(lambda: not io._stuck)
    assert io.run("a.tif", lambda: "fine") == "fine"
    io.end()


def give_up(io: IoExecutor, name: str, late: threading.Event, **options: Any) -> None:
    with pytest.raises(StuckError):
        io.run(name, late.wait, **options)


def test_a_late_result_that_cannot_be_released_leaves_nothing_stuck(
    free: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(late: bool) -> None:
        raise OSError("close failed")

    io = IoExecutor(SOON)
    give_up(io, "a.tif", free, drop=fail)
    free.set()
    wait_for(lambda: not io._lost)
    assert "a.tif: cannot release a late result (close failed)" in caplog.text
    assert io.run("a.tif", lambda: "fine") == "fine"
    io.end()


def test_no_request_waits_until_a_late_result_is_released(free: threading.Event) -> None:
    io, releasing, released = IoExecutor(SOON), threading.Event(), threading.Event()

    def hang(late: bool) -> None:
        releasing.set()
        released.wait()

    give_up(io, "a.tif", free, drop=hang)
    free.set()
    assert releasing.wait(20)
    assert [io.run(name, lambda: "fine") for name in ("a.tif", "b.tif")] == ["fine"] * 2
    released.set()
    io.end()


def test_threads_that_wait_hold_nothing_of_what_they_read() -> None:
    io = IoExecutor(60)
    found = weakref.ref(io.run("a.tif", lambda: np.zeros(10)))
    wait_for(lambda: found() is None)
    io.end()


def test_not_more_than_some_threads_get_stuck(free: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofs.vfs.io_executor._MOST_STUCK", 3)
    io, threads = IoExecutor(SOON), set()

    def hang() -> None:
        threads.add(threading.get_ident())
        free.wait()

    for number in range(6):
        with pytest.raises(StuckError):
            io.run(f"{number}.tif", hang)
    assert len(threads) == 3
    free.set()
    wait_for(lambda: not io._lost)
    assert io.run("0.tif", lambda: "fine") == "fine"
    io.end()


def test_a_file_that_is_stuck_with_many_readers_is_one_file(
    free: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryofs.vfs.io_executor._MOST_STUCK", 3)
    io = IoExecutor(SOON)
    with ThreadPoolExecutor(6) as readers:
        list(readers.map(lambda _: give_up(io, "a.tif", free), range(6)))
    assert io.run("b.tif", lambda: "fine") == "fine"
    io.end()


def test_a_request_for_several_files_waits_no_longer(free: threading.Event) -> None:
    io, requested = IoExecutor(SOON), []

    def hang(number: int) -> None:
        requested.append(number)
        free.wait()

    def several() -> str:
        for number in range(5):
            with pytest.raises(StuckError):
                io.run(f"{number}.tif", partial(hang, number))
        return "in time"

    assert io.run("folder", several) == "in time", "it has time left to make something of it"
    with io.in_all():
        give_up(io, "5.tif", free)
        with pytest.raises(StuckError):
            io.run("6.tif", partial(hang, 6))
    assert requested == [0]
    assert io.run("6.tif", lambda: "fine") == "fine", "it was not requested, so it is not stuck"
    io.end()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for number in range(4):
        simulated(tmp_path / "session" / f"{number}.mrc", frames=8, seed=number)
    (tmp_path / "session" / "notes.txt").write_text("300 kV")
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive"


def content(files: FileSystem, name: str) -> bytes:
    handle = files.open(name)
    try:
        return b"".join(bytes(files.read(handle, 60_000, at)) for at in range(0, files.attributes(name).size, 60_000))
    finally:
        files.release(handle)


def test_files_that_are_stuck_keep_no_other_one_waiting(
    place: Path, monkeypatch: pytest.MonkeyPatch, free: threading.Event
) -> None:
    """More of them than frames are decoded at once, and than threads read ahead."""
    stuck = {(place / name).stat().st_ino for name in ("0.mrc.tif", "1.mrc.tif", "2.mrc.tif", "notes.txt")}
    originals = {path.name: path.read_bytes() for path in place.with_name("session").iterdir()}
    hanging = threading.Event()

    def hang(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        # reading from the first frames on: so records can be had
        if hanging.is_set() and os.fstat(arguments[0]).st_ino in stuck:
            free.wait()
        return call(*arguments)

    faults.inject(monkeypatch, hang)
    files = FileSystem(place, Settings(cache_size=Size(64 << 20), jobs=1, request_timeout=1.0))
    files.start()
    listed_in(files, "/")
    hanging.set()
    try:
        with ThreadPoolExecutor(8) as readers:
            waiting = [readers.submit(content, files, f"/{number % 3}.mrc") for number in range(6)]
            waiting.append(readers.submit(content, files, "/notes.txt"))
            assert content(files, "/3.mrc") == originals["3.mrc"]
            assert [name for name, _ in listed_in(files, "/")] == sorted(originals)
            assert files.attributes("/0.mrc").size == len(originals["0.mrc"])
            for one in waiting:
                with pytest.raises(StuckError, match="did not respond"):
                    one.result()
        free.set()
        wait_for(lambda: not files._io._stuck)
        for name, data in originals.items():
            assert content(files, "/" + name) == data
    finally:
        free.set()
        files.stop()


ALL_VIEWS = ["/rays.mrc", "/rays.eer", "/@archive/rays.eer", "/@counts/rays.mrc"]
ALL_VIEWS += [f"/@up{upsampling}_gr{grouping}/rays.mrc" for upsampling in (1, 2, 4) for grouping in (5, 6)]


@pytest.mark.parametrize(
    ("stuck", "names"),
    [("0.mrc.tif", ["/0.mrc", "/@counts/0.mrc", "/@up1_gr5/0.mrc", "/@archive/0.mrc.tif"]), ("rays.eer", ALL_VIEWS)],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_stuck_file_is_one_file_in_all_views(
    place: Path, monkeypatch: pytest.MonkeyPatch, free: threading.Event, stuck: str, names: list[str], known: bool
) -> None:
    """Every open and read fails at once, whether its index or record is known or not."""
    shape = (64, 64)
    write_eer(place / "rays.eer", list(random_frames(45, shape, 0.02, Widths())), shape, Widths())
    inode, hanging = (place / stuck).stat().st_ino, threading.Event()

    def hang(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        if hanging.is_set() and os.fstat(arguments[0]).st_ino == inode:
            free.wait()
        return call(*arguments)

    faults.inject(monkeypatch, hang)
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    files = FileSystem(place, Settings(cache_size=Size(64 << 20), jobs=1, request_timeout=1.0))
    files.start()
    if known:
        content(files, names[0])
    hanging.set()

    def read(name: str) -> None:
        handle = files.open(name)
        try:
            files.read(handle, 100, 5000)
        finally:
            files.release(handle)

    with pytest.raises(StuckError):
        read(names[-1])
    waited: list[str] = []

    def give_up(task: Any) -> bool:
        waited.append(task.name)
        return True

    monkeypatch.setattr(files._io, "_give_up", give_up)
    try:
        for name in names:
            with pytest.raises(StuckError, match=stuck.partition(".")[0]):
                read(name)
        assert not waited
        content(files, "/3.mrc")
    finally:
        free.set()
        files.stop()


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_listing_waits_once_however_many_records_hang(
    place: Path, monkeypatch: pytest.MonkeyPatch, free: threading.Event, is_remote: bool
) -> None:
    stuck = {(place / name).stat().st_ino for name in ("0.mrc.tif", "1.mrc.tif", "2.mrc.tif")}
    (place / "foreign.mrc.tif").write_bytes(b"no movie of ours")

    def hang(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        if os.fstat(arguments[0]).st_ino in stuck:
            free.wait()
        return call(*arguments)

    faults.inject(monkeypatch, hang)
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    monkeypatch.setattr("cryofs.vfs.file_system.may_be_remote", lambda _: is_remote)
    files = FileSystem(place, Settings(jobs=1, request_timeout=1.0))
    files.start()
    originals = [f"{number}.mrc" for number in range(4)]
    try:
        for hanging in range(1, 4):
            assert [name for name, _ in listed_in(files, "/")] == [*originals, "foreign.mrc", "notes.txt"]
            stuck_movies = [name for name in files._io._stuck if name.endswith(".tif")]
            assert len(stuck_movies) == hanging, "one more that it waited for"
        assert [name for name, _ in listed_in(files, "/")] == [*originals, "foreign.mrc.tif", "notes.txt"]
        assert files.attributes("/3.mrc").size == (place.with_name("session") / "3.mrc").stat().st_size
        with pytest.raises(StuckError):
            files.attributes("/0.mrc")
    finally:
        free.set()
        files.stop()


def test_a_record_on_hanging_storage_is_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, free: threading.Event
) -> None:
    def hang(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        free.wait()
        return call(*arguments)

    faults.inject(monkeypatch, hang)
    files = FileSystem(place, Settings(jobs=1, request_timeout=SOON))
    files.start()
    with pytest.raises(StuckError, match=r"0\.mrc"):
        files.attributes("/0.mrc")
    free.set()
    files.stop()
