"""Memory of event streams that is used again, because new memory takes as long as reading a stream from the page cache.

Threads: `StreamMemory` may be shared; a deque needs no lock.
"""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

# sizes are rounded up to a multiple of this, because fractions differ by a few words
_STEP = 1 << 17


class StreamMemory:
    """Memory of streams that nothing refers to any more.

    Parameters
    ----------
    count : int
        Pieces of memory that are kept.
    """

    def __init__(self, count: int):
        self._spare: deque[NDArray[np.uint64]] = deque(maxlen=count)

    def take(self, size: int) -> NDArray[np.uint64]:
        """Return memory for `size` words, of any content. When the array is deleted, its memory is used again."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(0, np.uint64)
        if len(memory) < size:
            memory = np.empty(-(-size // _STEP) * _STEP, np.uint64)
        # views of this array refer to it, not to `memory`, so it lives as long as any of them
        words = np.frombuffer(memory.data, np.uint64, size)
        weakref.finalize(words, self._spare.append, memory).atexit = False
        return words
