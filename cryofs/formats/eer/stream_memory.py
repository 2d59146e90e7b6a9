"""Reuse of the memory of event streams, because allocating it takes as long as reading a stream from the page cache.

Thread safety: threads may share a `StreamMemory`, because the operations of its deque are atomic.
"""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

# sizes are rounded up to a multiple of this, because those of fractions differ by a few words
_STEP = 1 << 17


class StreamMemory:
    """Pool of the memory of deleted arrays.

    Parameters
    ----------
    count : int
        Maximum number of free buffers in the pool.
    """

    def __init__(self, count: int):
        self._spare: deque[NDArray[np.uint64]] = deque(maxlen=count)

    def take(self, size: int) -> NDArray[np.uint64]:
        """Return an uninitialised array, shape (size,); its memory returns to the pool when the array is deleted."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(0, np.uint64)
        if len(memory) < size:
            memory = np.empty(-(-size // _STEP) * _STEP, np.uint64)
        # views of this array refer to it and not to `memory`, so it exists as long as any of them
        words = np.frombuffer(memory.data, np.uint64, size)
        weakref.finalize(words, self._spare.append, memory).atexit = False
        return words
