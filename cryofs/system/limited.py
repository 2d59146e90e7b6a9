"""Run calls that may hang, such as queries of mounts, in child processes that are abandoned after a time limit.

A thread does not suffice: a process does not end while one of its threads waits for a reply to a FUSE request that the
process of the mount has already received. Such a wait ignores even SIGKILL.
"""

import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")

_PIECE = 1 << 16
_REST_SECONDS = 1.0
_END_SECONDS = 0.2


class Call(Generic[T]):
    """A call that runs in a child process from now on.

    Parameters
    ----------
    call : callable
        Its result and its exceptions must be picklable. Descriptors of this process are closed for it.
    """

    def __init__(self, call: Callable[[], T]):
        self._reader, writer = os.pipe()
        with warnings.catch_warnings():
            # the child makes a few system calls and ends, whatever locks other threads held
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self._process = os.fork()
            except OSError:
                os.close(self._reader)
                os.close(writer)
                raise
        if self._process == 0:
            _answer(call, writer)
        os.close(writer)

    def result(self, until: float) -> T:
        """Return the result; called once.

        Parameters
        ----------
        until : float
            Value of `time.monotonic` until which to wait; if the result is available already, it may be in the past.

        Raises
        ------
        TimeoutError
            The call has not returned in time. Its process is killed, and ends when what it waits for permits it.
        """
        try:
            answer = self._read(until)
        finally:
            os.close(self._reader)
        if answer is None:
            self._abandon()
            raise TimeoutError("the call did not return in time")
        os.waitpid(self._process, 0)
        import pickle

        # from a copy of this process; empty if it was killed
        result, error = pickle.loads(answer) if answer else (None, InterruptedError("the call was interrupted"))
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _abandon(self) -> None:
        """Kill the child, and wait for a moment: until its end, it keeps the mount in use."""
        os.kill(self._process, signal.SIGKILL)
        until = time.monotonic() + _END_SECONDS
        while os.waitpid(self._process, os.WNOHANG) == (0, 0) and time.monotonic() < until:
            time.sleep(0.002)

    def _read(self, until: float) -> bytes | None:
        """Return all that the child writes, or None if it does not finish in time."""
        answer = b""
        connection = select.poll()
        connection.register(self._reader, select.POLLIN)
        while connection.poll(max(0.0, until - time.monotonic()) * 1000):
            piece = os.read(self._reader, _PIECE)
            if not piece:
                return answer
            answer += piece
            # the rest is on its way
            until = max(until, time.monotonic() + _REST_SECONDS)
        return None


def run(call: Callable[[], T], seconds: float) -> T:
    """Return the result of a call in a child process.

    Raises
    ------
    TimeoutError
        The call does not return in time.
    """
    return Call(call).result(time.monotonic() + seconds)


def _answer(call: Callable[[], Any], writer: int) -> NoReturn:
    """Run a call in the child, and write its result and its error; what follows in the parent must not run here."""
    try:
        # a program that reads the output of this one would wait for the end of an abandoned child; the end of a pipe
        # stands in for /dev/null, which a container may lack
        null, _ = os.pipe()
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        answer: tuple[Any, Exception | None]
        try:
            answer = call(), None
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            answer = None, error
        import pickle

        data = pickle.dumps(answer)
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)
