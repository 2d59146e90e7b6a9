"""Calls that go on when the request that began them has reached its deadline, because they must not be given up."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from cryofs.errors import StuckError
from cryofs.system import deadlines

Result = TypeVar("Result")


def begin(call: Callable[[], Result]) -> Future[Result]:
    """Begin a call in a thread of its own, which has no deadline."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is requested
            future.set_exception(error)

    threading.Thread(target=run, name="late call", daemon=True).start()
    return future


def result_in_time(future: Future[Result], what: str) -> Result:
    """Return what a call returned, or raise its error.

    Raises
    ------
    StuckError
        The deadline of this thread was reached before; the call goes on.
    """
    wait([future], deadlines.seconds_left())
    if not future.done():
        raise StuckError(f"{what} takes longer than this kernel lets a request take; it goes on, so retry later")
    return future.result()
