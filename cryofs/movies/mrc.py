"""Plain MRC movies."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.formats import mrc
from cryofs.formats.mrc import MrcHeader
from cryofs.movies.movie import Layout
from cryofs.movies.source import SourceMovie


class MrcMovie(SourceMovie):
    """An MRC file on disk.

    Raises
    ------
    FormatError
        No readable MRC file, see `cryofs.formats.mrc.read_header`.
    """

    def __init__(self, path: Path):
        self.name = str(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.stat = os.fstat(self.descriptor)
            self._header = mrc.read_header(self.descriptor, self.stat.st_size, self.name)
        except BaseException:
            os.close(self.descriptor)
            raise
        header = self._header
        self.layout = Layout(len(header.raw), header.nz, header.frame_bytes, self.stat.st_size)

    @property
    def mrc_header(self) -> MrcHeader:
        """Parsed header."""
        return self._header

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of a frame."""
        return self._read(index, 0, self.layout.frame_bytes)

    def raw_rows(self, index: int, first: int, end: int) -> NDArray[np.uint8]:
        """Bytes of the frame rows `first` to `end` (exclusive)."""
        row_bytes = self._header.row_bytes
        return self._read(index, first * row_bytes, (end - first) * row_bytes)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Bytes behind the last frame."""
        return os.pread(self.descriptor, size, self.layout.data_end + offset)

    def _read(self, index: int, start: int, size: int) -> NDArray[np.uint8]:
        if not 0 <= index < self.layout.frames:
            raise IndexError(f"{self.name}: no frame {index}, it has {self.layout.frames}")
        raw = np.empty(size, np.uint8)
        offset = self.layout.header_bytes + index * self.layout.frame_bytes + start
        done = 0
        while done < size:
            count = os.preadv(self.descriptor, [raw[done:].data], offset + done)
            if count == 0:
                raise ChangedError(f"{self.name}, frame {index}: the file was cut short while it was read")
            done += count
        return raw
