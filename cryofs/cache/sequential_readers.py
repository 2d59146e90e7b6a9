"""Table of the current sequential readers, which checks that the cache has space for two frames of each.

Without this space, the cache would drop frames before they are completely read, and decode them repeatedly.

Threads: thread-safe; the lock guards the table.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

# Seconds without a read after which a reader is ignored.
_IDLE_SECONDS = 2.0
_FRAMES_OF_EACH = 2


class Readers:
    """Table of the sequential readers, with their open files as keys.

    Parameters
    ----------
    budget : int
        Capacity of the cache in bytes.
    """

    def __init__(self, budget: int):
        self._budget = budget
        self._lock = threading.Lock()
        # in order of the last read, the most recent last
        self._frame_bytes: OrderedDict[Hashable, int] = OrderedDict()
        self._last_read: dict[Hashable, float] = {}
        self._wanted = 0

    def go_on(self, reader: Hashable, frame_bytes: int) -> bool:
        """Record a read of a sequential reader; return True if the cache lacks space for all such readers."""
        now = time.monotonic()
        with self._lock:
            self._forget(reader)
            while self._frame_bytes and now - self._last_read[oldest := next(iter(self._frame_bytes))] > _IDLE_SECONDS:
                self._forget(oldest)
            self._frame_bytes[reader] = frame_bytes
            self._last_read[reader] = now
            self._wanted += _FRAMES_OF_EACH * frame_bytes
            return self._wanted > self._budget and len(self._frame_bytes) > 1

    def leave(self, reader: Hashable) -> None:
        """Remove a reader that closed the file or no longer reads in order."""
        with self._lock:
            self._forget(reader)

    def _forget(self, reader: Hashable) -> None:
        if reader in self._frame_bytes:
            self._wanted -= _FRAMES_OF_EACH * self._frame_bytes.pop(reader)
            del self._last_read[reader]
