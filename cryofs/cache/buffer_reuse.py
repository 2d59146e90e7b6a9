"""Memory of frames that nobody needs any more, for the next frame of the same size.

Memory that a process has used before is much faster than memory that the kernel has to find and clear first, which for
large frames takes as long as decoding them. A frame's memory may be used again only if nobody else holds the frame or a
view of it; the interpreter's count of references tells that.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reuse(dropped: list[NDArray[Any]], size: int) -> NDArray[Any] | None:
    """Take frames out of a list; give the memory of one that takes `size` bytes and that nobody else holds."""
    while dropped:
        memory = _owner(dropped.pop())
        if memory.nbytes == size and memory.flags.owndata and _holders(memory) == _ALONE:
            return memory
    return None


def _owner(frame: NDArray[Any]) -> NDArray[Any]:
    """The array whose memory a frame is a view of; views of views refer to it directly."""
    return frame.base if isinstance(frame.base, np.ndarray) else frame


def _holders(memory: NDArray[Any]) -> int:
    return sys.getrefcount(memory)


def _count_alone() -> int:
    """What `_holders` says, called as `reuse` calls it, where nobody else holds the memory."""
    dropped = [np.empty((1, 1)).reshape(-1)]
    memory = _owner(dropped.pop())
    return _holders(memory)


_ALONE = _count_alone()
