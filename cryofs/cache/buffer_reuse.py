"""Reuse of the memory of dropped frames for the next frame of the same size.

Memory that the process has used before is much faster than new memory, which the kernel has to find and clear first;
for large frames that takes as long as decoding them. The memory of a frame may be reused only if no reader holds the
frame or a view of it, which the reference count of the interpreter shows.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reuse(dropped: list[NDArray[Any]], size: int) -> NDArray[Any] | None:
    """Remove frames from a list; return the memory of one of `size` bytes that has no other reference, or None."""
    while dropped:
        memory = _owner(dropped.pop())
        if memory.nbytes == size and memory.flags.owndata and _holders(memory) == _ALONE:
            return memory
    return None


def _owner(frame: NDArray[Any]) -> NDArray[Any]:
    """Return the array that owns the memory of a frame; views of views refer to it directly."""
    return frame.base if isinstance(frame.base, np.ndarray) else frame


def _holders(memory: NDArray[Any]) -> int:
    return sys.getrefcount(memory)


def _count_alone() -> int:
    """Return the reference count that `_holders` returns in `reuse` for memory without other references."""
    dropped = [np.empty((1, 1)).reshape(-1)]
    memory = _owner(dropped.pop())
    return _holders(memory)


_ALONE = _count_alone()
