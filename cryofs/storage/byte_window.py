"""Read a range of a byte source at once, to serve many small reads from memory."""

from collections.abc import Iterable

from cryofs.storage.byte_source import ByteSource

# Maximum size of gaps to read together with requested bytes: per requested byte, plus a constant.
_GAPS = 1
_GAPS_ALWAYS = 64 << 10


class ByteWindow(ByteSource):
    """A byte source that serves a range from memory, and passes all other calls to the underlying source.

    Parameters
    ----------
    start : int
        Offset of the range.
    data : bytes
        Bytes of the range.
    """

    def __init__(self, source: ByteSource, start: int, data: bytes):
        self._source = source
        self._start = start
        self._data = data
        self.name = source.name
        self.size = source.size
        self.identity = source.identity

    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file."""
        first = offset - self._start
        if first >= 0 and first + size <= len(self._data):
            return self._data[first : first + size]
        return self._source.read(size, offset)

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill contiguous memory from `offset` from the source; return the number of bytes read."""
        return self._source.read_into(memory, offset)

    def is_unchanged(self) -> bool:
        """Return True if the source has not changed since it was opened."""
        return self._source.is_unchanged()

    def close(self) -> None:
        """Do nothing, because the underlying source belongs to the caller."""


def window_over(source: ByteSource, places: Iterable[tuple[int, int]]) -> ByteSource:
    """Return a source that has all places in memory if the gaps between them are small.

    Parameters
    ----------
    places : iterable of (offset, size)
        Parts of the source that the caller will read.

    Returns
    -------
    ByteSource
        A `ByteWindow`, or `source` itself if the gaps are too large or the range cannot be read completely.
    """
    start, end, wanted = source.size, 0, 0
    for offset, size in places:
        start, end, wanted = min(start, offset), max(end, offset + size), wanted + size
    if not 0 <= start < end <= source.size or end - start > (1 + _GAPS) * wanted + _GAPS_ALWAYS:
        return source
    try:
        return ByteWindow(source, start, source.read(end - start, start))
    except OSError:
        # the caller's reads of single places will report the error
        return source
