"""Calls in child processes that are abandoned after a time limit."""

import os
import select
import signal
import time
from pathlib import Path

import pytest

from cryofs.errors import MountError
from cryofs.system.limited import Call, run

LONG = 30.0


def test_results_and_errors_are_passed_on() -> None:
    assert run(lambda: {"pid": os.getpid()}, LONG)["pid"] != os.getpid()
    assert run(lambda: bytes(1 << 20), LONG) == bytes(1 << 20)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(Path("/nowhere").stat, LONG)

    def refuse() -> None:
        raise MountError("/mnt: no")

    with pytest.raises(MountError, match="/mnt: no"):
        run(refuse, LONG)


def test_a_call_that_hangs_is_abandoned() -> None:
    with pytest.raises(TimeoutError):
        run(lambda: time.sleep(LONG), 0.2)


def test_results_are_kept_until_they_are_asked_for() -> None:
    calls = [Call(os.getpid) for _ in range(3)]
    for call in calls:
        os.waitid(os.P_PID, call._process, os.WEXITED | os.WNOWAIT)
    assert len({call.result(until=0.0) for call in calls}) == 3


def test_an_abandoned_child_holds_no_descriptor_of_its_parent() -> None:
    """Otherwise a program that reads the output of a command would wait for the mount that does not respond."""
    reader, writer = os.pipe()
    call = Call(lambda: time.sleep(LONG))
    try:
        os.close(writer)
        assert select.select([reader], [], [], LONG)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
        os.kill(call._process, signal.SIGKILL)
        with pytest.raises(InterruptedError):
            call.result(time.monotonic() + LONG)
