"""A part of a byte source that was read in one piece, from which many small reads are served."""

from collections.abc import Iterable

from cryofs.storage.byte_source import ByteSource

# Bytes between the wanted ones that are worth reading, for each wanted byte and in all.
_GAPS = 1
_GAPS_ALWAYS = 64 << 10


class ByteWindow(ByteSource):
    """A byte source with a part of it in memory. All other reads, and all answers about the content, are the source's.

    Parameters
    ----------
    start : int
        Offset of the part.
    data : bytes
        The part.
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
        """Fill contiguous memory from `offset`, from the source."""
        return self._source.read_into(memory, offset)

    def is_unchanged(self) -> bool:
        """Return True if the content of the source is still the one that was opened."""
        return self._source.is_unchanged()

    def close(self) -> None:
        """Keep the source open, which belongs to the caller."""


def window_over(source: ByteSource, places: Iterable[tuple[int, int]]) -> ByteSource:
    """Read the range of all places at once, if little else lies between them.

    Parameters
    ----------
    places : iterable of (offset, size)
        What will be read.

    Returns
    -------
    ByteSource
        The source itself if its parts are too far apart, beyond its end, or not all readable.
    """
    start, end, wanted = source.size, 0, 0
    for offset, size in places:
        start, end, wanted = min(start, offset), max(end, offset + size), wanted + size
    if not 0 <= start < end <= source.size or end - start > (1 + _GAPS) * wanted + _GAPS_ALWAYS:
        return source
    try:
        return ByteWindow(source, start, source.read(end - start, start))
    except OSError:
        # reading each place shows which of them cannot be read
        return source
