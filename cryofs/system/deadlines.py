"""The time until which the present thread must have finished a request, if the request has such a limit.

Threads: each has its own deadline.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

_own = threading.local()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Set the deadline of this thread for the block, unless an earlier one is set."""
    before = _until()
    until = time.monotonic() + seconds
    _own.until = until if before is None else min(before, until)
    try:
        yield
    finally:
        _own.until = before


def seconds_left() -> float | None:
    """Return the time until the deadline of this thread, at least 0; None if there is no deadline."""
    until = _until()
    return None if until is None else max(0.0, until - time.monotonic())


def _until() -> float | None:
    until: float | None = getattr(_own, "until", None)
    return until
