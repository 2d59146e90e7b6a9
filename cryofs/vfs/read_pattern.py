"""Detection of sequential reads of an open file.

Threads: no lock. Concurrent requests may make the pattern inexact, but it only guides caching and read-ahead.
"""

# Bytes that must be read in order before whole frames are decoded. Until then, row blocks are decoded, which suits
# programs that read only a header or a few rows. The kernel requests up to 3 MiB in order for a single read of 1 MiB.
SEQUENTIAL_BYTES = 4 << 20
# Requests of a sequential reader may arrive out of order by up to this many bytes.
_OVERTAKING = 4 << 20


class ReadPattern:
    """The pattern of the reads of an open file.

    Parameters
    ----------
    frame_bytes : int
        Size of a frame in bytes.
    """

    def __init__(self, frame_bytes: int):
        self._frame_bytes = frame_bytes
        self._end = 0
        self._in_order = 0
        self._served: dict[int, int] = {}
        self._last_frame = -1
        # number of frames entered in order
        self.steps = 0

    def follow(self, offset: int, end: int) -> bool:
        """Record a request; return False if it does not continue the sequence."""
        if goes_on := abs(offset - self._end) <= _OVERTAKING:
            self._in_order += end - offset
            self._end = max(self._end, end)
        else:
            self._in_order, self._end = end - offset, end
        return goes_on

    @property
    def is_sequential(self) -> bool:
        """Whether enough bytes were read in order for whole frames to be decoded."""
        return self._in_order > SEQUENTIAL_BYTES

    def enter(self, index: int) -> bool:
        """Record the frame of a request; return True if it is not that of the previous request."""
        if index == self._last_frame:
            return False
        self.steps = self.steps + 1 if index == self._last_frame + 1 else 0
        self._last_frame = index
        return True

    def serve(self, index: int, count: int) -> bool:
        """Record that `count` bytes of a frame were served; return True once the whole frame was served."""
        served = self._served.pop(index, 0) + count
        if served < self._frame_bytes:
            self._served[index] = served
            return False
        return True
