"""Pools start all threads before the first task."""

import threading

import pytest

from cryofs.errors import MountError
from cryofs.system import thread_pools
from cryofs.system.thread_pools import READING_THREADS, spare_threads, started_pool
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


def test_a_limit_leaves_the_threads_that_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 2 * 3 + READING_THREADS + thread_pools._OTHER_TASKS
    monkeypatch.setattr(thread_pools, "task_limit", lambda _: 100)
    assert spare_threads(3, 5) == 5
    refuse_from(monkeypatch, needed + 4)
    assert spare_threads(3, 5) == 4


def test_a_limit_that_leaves_too_few_threads_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pools, "task_limit", lambda _: 100)
    refuse_from(monkeypatch, 10)
    with pytest.raises(MountError, match=r"a mount needs \d+ threads \(the system allows 10 more\); reduce --jobs"):
        spare_threads(1, 5)


def test_an_ample_limit_is_not_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_from(monkeypatch, 0)
    for limit in (None, 10**6):
        monkeypatch.setattr(thread_pools, "task_limit", lambda _, limit=limit: limit)
        assert spare_threads(3, 5) == 5
