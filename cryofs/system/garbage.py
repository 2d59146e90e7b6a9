"""Pause Python's collector of reference cycles while many objects are created that stay."""

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
# blocks that pause the collector now, and whether it was enabled before the first of them
_pauses = 0
_was_enabled = True


@contextlib.contextmanager
def long_lived() -> Iterator[None]:
    """Pause the collector, because each run would scan all new objects; afterwards, exclude them from it.

    For imported modules and loaded tables.
    """
    global _pauses, _was_enabled
    with _lock:
        if not _pauses:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            gc.freeze()
            _pauses -= 1
            if not _pauses and _was_enabled:
                gc.enable()
