"""The pattern in which an open file is read: sequential or random.

Threads: not locked. Several threads may read one open file; the recorded pattern only guides the cache and read-ahead.
"""

# Bytes that a reader must have read in order before whole frames are decoded for it. Until then it gets row blocks, as
# do programs that read a header, or a few rows here and there. For a read of 1 MiB anywhere, the kernel requests up to
# 3 MiB in order.
SEQUENTIAL_BYTES = 4 << 20
# Requests of a sequential reader may overtake one another by so many bytes on their way.
_OVERTAKING = 4 << 20


class ReadPattern:
    """Pattern of the reads of an open file.

    Parameters
    ----------
    frame_bytes : int
        Size of a frame.
    """

    def __init__(self, frame_bytes: int):
        self._frame_bytes = frame_bytes
        self._end = 0
        self._in_order = 0
        self._served: dict[int, int] = {}
        self._last_frame = -1
        # frames read one after the other
        self.steps = 0

    def follow(self, offset: int, end: int) -> bool:
        """Record a request; return False if the reader jumped."""
        if goes_on := abs(offset - self._end) <= _OVERTAKING:
            self._in_order += end - offset
            self._end = max(self._end, end)
        else:
            self._in_order, self._end = end - offset, end
        return goes_on

    @property
    def is_sequential(self) -> bool:
        """True once the reader has read enough data sequentially to get whole frames."""
        return self._in_order > SEQUENTIAL_BYTES

    def enter(self, index: int) -> bool:
        """Record the frame of a request; return True if it differs from the last one."""
        if index == self._last_frame:
            return False
        self.steps = self.steps + 1 if index == self._last_frame + 1 else 0
        self._last_frame = index
        return True

    def serve(self, index: int, count: int) -> bool:
        """Record how many bytes of a frame were served; return True when all of them have been."""
        served = self._served.pop(index, 0) + count
        if served < self._frame_bytes:
            self._served[index] = served
            return False
        return True
