"""What every kind of movie offers: the geometry of an MRC file, its header, and its frames, decoded one at a time.

A movie is read-only and may be used by several threads at once: positions are never kept, reads go to offsets.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader


class Movie(ABC):
    """A movie as the MRC file that it is, was, or looks like.

    Attributes
    ----------
    name : str
        How messages call it.
    layout : Layout
        Sizes, known without decoding anything.
    """

    name: str
    layout: Layout

    @property
    @abstractmethod
    def mrc_header(self) -> MrcHeader:
        """Parsed header of the MRC file."""

    @abstractmethod
    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of a frame as the MRC file holds them, checked; a new array that the caller may keep, shape (n,)."""

    @property
    def decodes_at_once(self) -> int:
        """Frames to decode at the same time for a reader in order; several where one core decodes a frame."""
        return 1

    @property
    def kept_bytes(self) -> int:
        """Memory that a kept frame takes."""
        return self.layout.frame_bytes

    def stored_frame(self, index: int) -> Any:
        """What files hold of a frame, for `kept_frame`: all of its decoding that may have to wait for a disk."""
        return None

    def kept_frame(self, index: int, memory: NDArray[Any] | None = None, stored: Any = None) -> NDArray[Any]:
        """A decoded frame, flat, in the form that is kept in memory: its bytes, unless a smaller form will do.

        Parameters
        ----------
        stored : object
            What `stored_frame` gave, if it was asked before.
        memory : ndarray or None
            One of `kept_bytes` that may be used for the frame; nobody else holds it.
        """
        return self.raw_frame(index)

    def piece(self, kept: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Bytes `start` to `start + size` of a frame, from its kept form; fewer where the frame ends."""
        return kept[start : start + size]

    def band(self, start: int) -> range | None:
        """Bytes of a frame that are decoded together with the one at `start`; None where only whole frames are."""
        return None

    def stored_band(self, index: int, band: range) -> Any:
        """What files hold of a band of a frame, for `kept_band`."""
        return None

    def kept_band(
        self, index: int, band: range, memory: NDArray[Any] | None = None, stored: Any = None
    ) -> NDArray[np.uint8]:
        """Bytes of a band of a frame, as `band` gave it, shape (n,); otherwise as `kept_frame`."""
        return self.raw_frame(index)[band.start : band.stop]

    @abstractmethod
    def read_trailing(self, size: int, offset: int) -> bytes:
        """Bytes behind the last frame; `offset` counts from there. Short only at the end of the file."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    @property
    def header(self) -> bytes:
        """All bytes before the first frame."""
        return self.mrc_header.raw

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return self.mrc_header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel value in native byte order."""
        return self.mrc_header.dtype

    def frame(self, index: int) -> NDArray[Any]:
        """Values of a frame, shape (ny, nx), rows as the MRC file has them (from the bottom)."""
        header = self.mrc_header
        return mrc.frame_values(self.raw_frame(index), header)[:, : header.nx]

    def frames(self) -> Iterator[NDArray[Any]]:
        """All frames in order."""
        return (self.frame(index) for index in range(self.layout.frames))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
