"""Reuse the memory of dropped frames for the next frame of the same size.

The kernel must map and clear new memory, which takes as long as decoding for large frames. Memory may be reused only if
no reader holds the frame or a view of it, according to the reference count of the interpreter.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reuse(dropped: list[NDArray[Any]], size: int) -> NDArray[Any] | None:
    """Empty the list of dropped frames, and return the memory of one of them for reuse.

    Returns
    -------
    ndarray or None
        Memory of `size` bytes without other references, or None if no dropped frame qualifies.
    """
    while dropped:
        memory = _owner(dropped.pop())
        if memory.nbytes == size and memory.flags.owndata and _holders(memory) == _ALONE:
            return memory
    return None


def _owner(frame: NDArray[Any]) -> NDArray[Any]:
    """Return the array that owns the memory of a frame. In NumPy, views of views refer to it directly."""
    return frame.base if isinstance(frame.base, np.ndarray) else frame


def _holders(memory: NDArray[Any]) -> int:
    return sys.getrefcount(memory)


def _count_alone() -> int:
    """Return the reference count that `_holders` reports for memory that only `reuse` refers to."""
    dropped = [np.empty((1, 1)).reshape(-1)]
    memory = _owner(dropped.pop())
    return _holders(memory)


_ALONE = _count_alone()
