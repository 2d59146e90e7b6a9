"""Pools start all threads before the first task."""

import threading

import pytest

from cryofs.errors import MountError
from cryofs.system.thread_pools import started_pool
from tests.support import wait_for


def refuse_from(patch: pytest.MonkeyPatch, number: int) -> None:
    """Make the system refuse to start more than `number` threads."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def refusing(thread: threading.Thread) -> None:
        if len(started) == number:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    patch.setattr(threading.Thread, "start", refusing)


def test_no_thread_is_started_by_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    with started_pool(3, "test") as pool:
        refuse_from(monkeypatch, 0)
        together = threading.Barrier(3)
        assert sorted(future.result() for future in [pool.submit(together.wait, 20) for _ in range(3)]) == [0, 1, 2]


def test_too_few_threads_are_an_error_and_leave_none(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_from(monkeypatch, 2)
    with pytest.raises(MountError, match=r"cannot start 3 threads for few-threads .*; reduce --jobs"):
        started_pool(3, "few-threads")
    wait_for(lambda: not any(thread.name.startswith("few-threads") for thread in threading.enumerate()))
