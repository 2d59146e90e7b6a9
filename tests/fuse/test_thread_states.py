"""Threads that the interpreter did not start keep their state after the first call."""

import ctypes
import shutil
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs libfuse 3")

_START = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def states() -> int:
    """Count the thread states of the interpreter."""
    api = ctypes.pythonapi
    for name in ("PyInterpreterState_Get", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
        getattr(api, name).restype = ctypes.c_void_p
    state = api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Get()))
    count = 0
    while state:
        count += 1
        state = api.PyThreadState_Next(ctypes.c_void_p(state))
    return count


def states_after(call: Callable[[], None]) -> int:
    """Call a function in a thread of the C library; return the number of states that remain after the call."""

    def start(_: object) -> None:
        call()

    before, thread, library = states(), ctypes.c_ulong(), ctypes.CDLL(None)
    kept = _START(start)
    assert library.pthread_create(ctypes.byref(thread), None, kept, None) == 0
    assert library.pthread_join(thread, None) == 0
    return states() - before


def test_a_thread_of_libfuse_keeps_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryofs.fuse import thread_states

    monkeypatch.setattr(thread_states, "_KEEPS_THREADS", True)
    assert states_after(lambda: None) == 0
    assert states_after(thread_states.keep_state) == 1


def test_a_thread_that_libfuse_may_end_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryofs.fuse import thread_states

    monkeypatch.setattr(thread_states, "_KEEPS_THREADS", False)
    assert states_after(thread_states.keep_state) == 0
