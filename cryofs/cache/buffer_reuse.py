"""Reuse the memory of dropped frames for the next frame of the same size.

The kernel has to find and clear new memory, which for large frames takes as long as decoding; memory that the process
has used before is ready. The memory of a frame may be reused only if no reader holds the frame or a view of the frame,
which the reference count of the interpreter shows.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reuse(dropped: list[NDArray[Any]], size: int) -> NDArray[Any] | None:
    """Empty a list of dropped frames, and return the memory of a frame for reuse.

    Returns
    -------
    ndarray or None
        The memory of a frame of `size` bytes without other references, or None if there is no such frame.
    """
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
    """Return the reference count that `_holders` returns for memory whose only user is `reuse`."""
    dropped = [np.empty((1, 1)).reshape(-1)]
    memory = _owner(dropped.pop())
    return _holders(memory)


_ALONE = _count_alone()
