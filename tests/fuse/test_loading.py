"""The file system of a mount is made while the mount is live."""

import errno
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from cryofs.errors import MountError, StuckError
from cryofs.fuse.loading import Loading
from cryofs.system import deadlines, thread_pools
from tests.support import wait_for


def test_requests_wait_until_the_file_system_has_started() -> None:
    go_on = threading.Event()
    made: Any = SimpleNamespace(start=lambda _: go_on.wait(20))
    loading = Loading(lambda: made, 1)
    loading.start()
    assert loading.started() is None
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(loading.files()))
    waiting.start()
    waiting.join(0.05)
    assert found == []
    go_on.set()
    waiting.join(20)
    assert found == [made]
    assert loading.started() is made


def test_a_request_with_a_deadline_waits_no_longer() -> None:
    go_on = threading.Event()
    made: Any = SimpleNamespace(start=lambda _: go_on.wait(20))
    loading = Loading(lambda: made, 1)
    loading.start()
    with deadlines.within(0.05), pytest.raises(StuckError, match="still being loaded"):
        loading.files()
    go_on.set()
    assert loading.files() is made


def test_a_file_system_that_was_made_before_is_used() -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(SimpleNamespace(start=lambda _: None))
        return made[-1]

    loading = Loading(make, 1)
    loading.make()
    loading.start()
    assert [loading.files()] == made


def test_requests_fail_if_it_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    """They do not fail with the error of the start: no file is missing because a library is."""

    def make() -> Any:
        raise FileNotFoundError(errno.ENOENT, "no library")

    loading = Loading(make, 1)
    loading.start()
    with pytest.raises(MountError, match=r"cannot open the archive .*no library"):
        loading.files()
    assert loading.started() is None
    wait_for(lambda: bool(caplog.records))
    assert caplog.records[0].levelno == logging.ERROR


def test_too_few_threads_prevent_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(threads: int, name: str) -> Any:
        raise MountError(f"cannot start {threads} threads for {name}")

    monkeypatch.setattr(thread_pools, "started_pool", refuse)
    with pytest.raises(MountError, match="cannot start 3 threads"):
        Loading(lambda: SimpleNamespace(), 3).start()  # type: ignore[arg-type, return-value]
