"""Reads when the system refuses further threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cryofs.errors import StuckError
from cryofs.vfs.io_executor import IoExecutor
from tests.support import wait_for

SOON = 0.3


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which the system refuses further threads for reads."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "reading":
            raise RuntimeError("can't start new thread")
        start(thread)

    return lambda: monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize("threads", [0, 2])
def test_calls_wait_for_a_thread_if_the_system_refuses_more(threads: int, refused: Callable[[], None]) -> None:
    io = IoExecutor(60)
    io.start(threads)
    refused()
    with ThreadPoolExecutor(8) as readers:
        results = list(readers.map(lambda number: io.run(f"{number}.tif", lambda: number), range(200)))
    assert results == list(range(200))
    with pytest.raises(ZeroDivisionError):
        io.run("a.tif", lambda: 1 / 0)
    io.end()


def test_calls_within_calls_need_no_further_thread(refused: Callable[[], None]) -> None:
    io = IoExecutor(60)
    io.start(2)
    refused()
    together = threading.Barrier(2)

    def outer(number: int) -> int:
        together.wait(20)
        return io.run(f"inner {number}", lambda: number)

    with ThreadPoolExecutor(2) as readers:
        assert list(readers.map(lambda number: io.run(f"{number}.tif", partial(outer, number)), range(2))) == [0, 1]
    io.end()


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """Set when storage is to respond again."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_that_gets_no_thread_in_time_leaves_nothing_stuck(
    refused: Callable[[], None], free: threading.Event
) -> None:
    io = IoExecutor(SOON)
    io.start(1)
    refused()
    for name in ("a.tif", "b.tif"):
        with pytest.raises(StuckError, match=name):
            io.run(name, free.wait)
    assert set(io._stuck) == {"a.tif"}
    free.set()
    wait_for(lambda: not io._stuck)
    assert io.run("b.tif", lambda: "fine") == "fine"
    io.end()
