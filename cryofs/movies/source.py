"""Movies that compress can archive: each is read from its own file, which may change during the run."""

import os
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError
from cryofs.formats import mrc
from cryofs.formats.record import Packed, Rendered
from cryofs.movies.movie import Movie
from cryofs.movies.unpacked import UnpackedSource
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.file_state import is_still, state_of

if TYPE_CHECKING:
    from cryofs.movies.eer_gain import EerGains

StatSource = LocalFile | UnpackedSource
ReadRows = Callable[[int, NDArray[np.uint8]], None]


class SourceMovie(Movie):
    """A movie in its own file, which can be archived.

    Attributes
    ----------
    path : Path
        The file.
    source : LocalFile or UnpackedSource
        Bytes of the open file, or of the movie in an open packed file.
    """

    path: Path
    source: StatSource

    @property
    def stat(self) -> os.stat_result:
        """Attributes of the file when it was opened."""
        return self.source.stat

    @abstractmethod
    def read_rows(self, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` (uint8, shape (n,)) with the bytes of the frame rows from `first` on.

        In a movie that is not rendered, the following frames continue the rows.
        """

    @abstractmethod
    def row_reader(self, index: int, memory: NDArray[Any] | None = None) -> ReadRows:
        """Return a function that fills an array (uint8, shape (n,)) with the bytes of rows of a frame.

        Parameters
        ----------
        memory : ndarray or None
            Memory of `decoded_bytes` bytes. A frame that must be rendered may be stored in it and is rendered once.
        """

    @property
    def rendered(self) -> Rendered | None:
        """Facts for the record about the file from which the movie is rendered; None if the movie is not rendered."""
        return None

    @property
    def packed(self) -> Packed | None:
        """Facts for the record about the packed file that held the movie; None for others."""
        return None

    @property
    def scratch_bytes(self) -> int:
        """Size of the temporary file that the open movie needs."""
        return 0

    @property
    def source_bytes(self) -> int:
        """Size of the original, or of the EER file that the movie is rendered from."""
        return self.layout.total_bytes if self.rendered is None else self.stat.st_size

    @property
    def source_summary(self) -> str | None:
        """Line of text about the frames of the file from which the movie is rendered; None if it is not rendered."""
        return None

    def gain_reference(self, gains: "EerGains") -> Movie | None:
        """Open the gain reference to archive with the movie; return None if there is none."""
        return None

    def raw_rows(self, index: int, first: int, end: int) -> NDArray[np.uint8]:
        """Return the bytes of the frame rows `first` to `end` (exclusive) as a new array (uint8, shape (n,))."""
        raw = np.empty((end - first) * self.mrc_header.row_bytes, np.uint8)
        self.read_rows(index, first, raw)
        return raw

    def rows(self, index: int, first: int, end: int) -> NDArray[Any]:
        """Return the values of the frame rows `first` to `end` (exclusive), shape (rows, nx)."""
        header = self.mrc_header
        return mrc.frame_values(self.raw_rows(index, first, end), header)[:, : header.nx]

    @property
    def state(self) -> tuple[int, int]:
        """Size and mtime_ns of the file when it was opened."""
        return self.stat.st_size, self.stat.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise ChangedError if the file was written to after it was opened."""
        if not self.source.is_unchanged():
            raise ChangedError(f"{self.name}: changed while it was read; retry once the file is complete")

    def check_in_place(self) -> None:
        """Raise ChangedError if the file was written to, replaced, renamed or removed after it was opened."""
        if not is_still(self.path, state_of(self.stat)):
            raise ChangedError(
                f"{self.name}: changed, replaced or removed while it was read; retry once the file is complete"
            )

    def close(self) -> None:
        """Close the file."""
        self.source.close()
