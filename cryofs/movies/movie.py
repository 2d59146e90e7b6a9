"""The interface of every kind of movie: the layout of an MRC file, its header, and its frames.

A frame is read in two phases. `Movie.read_frame` does all I/O and returns an `EncodedFrame`; `EncodedFrame.decode` only
computes. A movie is read-only and has no file position, so several threads may use it at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader


class EncodedFrame(ABC):
    """Stored bytes of a frame or row block, verified but not yet decoded."""

    @abstractmethod
    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Decode the frame or row block.

        Parameters
        ----------
        out : ndarray or None
            Memory of `Movie.decoded_bytes` bytes that may be used for the result.

        Returns
        -------
        ndarray, flat
            The bytes of the MRC file, or pixels in a smaller type, which `Movie.mrc_bytes` converts.

        Raises
        ------
        DamagedError
            The stored bytes are invalid, or the checksum of the frame does not match.
        """

    def for_one_thread(self) -> "EncodedFrame":
        """Return the same frame or row block, which the thread that calls `decode` decodes alone."""
        return self


class InMemoryFrame(EncodedFrame):
    """A frame that needs no decoding."""

    def __init__(self, decoded: NDArray[Any]):
        self._decoded = decoded

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the frame, flat."""
        return self._decoded


class EncodedRun(EncodedFrame):
    """Consecutive frames, which decode to their bytes in the MRC file; one damaged frame makes all fail.

    Parameters
    ----------
    frame_bytes : int
        Size of a frame in the MRC file.
    mrc_bytes : callable or None
        Converts a decoded frame to bytes of the MRC file; None if frames decode to these bytes.
    """

    def __init__(
        self,
        frames: Sequence[EncodedFrame],
        frame_bytes: int,
        mrc_bytes: Callable[[NDArray[Any]], NDArray[np.uint8]] | None = None,
    ):
        self._frames = frames
        self._frame_bytes = frame_bytes
        self._mrc_bytes = mrc_bytes

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Return the bytes of all frames in order (uint8, shape (n,))."""
        shape = len(self._frames), self._frame_bytes
        if out is None or out.nbytes != shape[0] * shape[1]:
            whole = np.empty(shape, np.uint8)
        else:
            whole = out.reshape(-1).view(np.uint8).reshape(shape)
        for place, frame in zip(whole, self._frames, strict=True):
            decoded = frame.decode()
            place[:] = decoded if self._mrc_bytes is None else self._mrc_bytes(decoded)
        return whole.reshape(-1)


class Movie(ABC):
    """A movie in the form of an MRC file, independent of its stored format.

    Attributes
    ----------
    name : str
        Name for messages.
    layout : Layout
        Sizes of the MRC file.
    identity : tuple
        Identifies the content; decoded frames are cached under it.
    units_are_frames : bool
        Whether the frames of the layout are those of a movie, and not just units of equal size.
    """

    units_are_frames: bool = True
    name: str
    layout: Layout
    identity: tuple[Hashable, ...]

    @property
    @abstractmethod
    def mrc_header(self) -> MrcHeader:
        """Header of the MRC file."""

    @abstractmethod
    def read_frame(self, index: int, rows: range | None = None) -> EncodedFrame:
        """Read the stored bytes of a frame, and verify their checksums.

        Parameters
        ----------
        rows : range or None
            A row block that `row_block` returned; None for the whole frame.

        Raises
        ------
        DamagedError
            Stored bytes are missing, or do not match their checksums.
        ChangedError
            The file was written to after it was opened.
        """

    def read_run(self, frames: range) -> EncodedFrame:
        """Read consecutive small frames, which decode to their bytes in the MRC file; see `read_frame` for errors."""
        return self.run_of(list(map(self.read_frame, frames)))

    def run_of(self, frames: Sequence[EncodedFrame]) -> EncodedRun:
        """Combine frames that were read together into a run."""
        size = self.layout.frame_bytes
        return EncodedRun(frames, size, lambda decoded: self.mrc_bytes(decoded, 0, size))

    @abstractmethod
    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes after the last frame, `offset` bytes after its end."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def follow_content(self, on_change: Callable[[], None]) -> None:
        """Continue to read the file if only its ctime moves and its directories stay the same.

        For kinds without checksums; those with checksums recognise other bytes.

        Parameters
        ----------
        on_change : callable
            Called when the ctime has moved and the directories are the same.
        """
        return

    def row_block(self, row: int) -> range | None:
        """Return the row block that contains a row, or None if only whole frames can be decoded."""
        return None

    @property
    def frame_unit(self) -> str:
        """Plural noun for the frames of the MRC file."""
        return "frames"

    @property
    def scale(self) -> float:
        """Factor by which values were multiplied to store them as integers; 1 if they were not scaled."""
        return 1.0

    def histogram_frame(self, index: int) -> NDArray[Any]:
        """Return counts if the movie stores them, otherwise values, shape (ny, nx), for histograms."""
        return self.frame(index)

    @property
    def decodes_at_once(self) -> int:
        """Number of frames to decode at the same time for a sequential reader; 1 if a single decode uses all cores."""
        return 1

    @property
    def row_bytes(self) -> int:
        """Size of a row in the MRC file in bytes."""
        return self.mrc_header.row_bytes

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size of a decoded frame or row block in memory, in bytes."""
        return self.layout.frame_bytes if rows is None else len(rows) * self.row_bytes

    @property
    def is_prepared(self) -> bool:
        """True if `mrc_bytes` needs no I/O."""
        return True

    def prepare(self) -> None:
        """Load the data that `mrc_bytes` needs; raise the errors of `read_frame`."""
        return

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return `size` bytes of the MRC file (uint8, shape (n,)) from a decoded frame or row block, fewer at its end.

        Parameters
        ----------
        decoded : ndarray, flat
            Result of `EncodedFrame.decode`.
        start : int
            First byte, relative to the first row of the frame or row block.
        memory : ndarray or None
            At least `size` bytes that may be used for the result.
        """
        return decoded[start : start + size]

    def mrc_frame(self, index: int) -> NDArray[np.uint8]:
        """Read and decode a frame; return its bytes in the MRC file (uint8, shape (n,))."""
        return self.mrc_bytes(self.read_frame(index).decode(), 0, self.layout.frame_bytes)

    def mrc_run(self, frames: range) -> NDArray[np.uint8]:
        """Read and decode consecutive small frames; return their bytes in the MRC file (uint8, shape (n,))."""
        return self.read_run(frames).decode()

    def frame(self, index: int) -> NDArray[Any]:
        """Return the values of a frame, shape (ny, nx), rows in the order of the MRC file (bottom row first)."""
        return mrc.shown_values(self.mrc_frame(index), self.mrc_header)

    def frames(self) -> Iterator[NDArray[Any]]:
        """Yield the values of each frame; see `frame`."""
        return (self.frame(index) for index in range(self.layout.frames))

    @property
    def header(self) -> bytes:
        """All bytes of the MRC file before the first frame."""
        return self.mrc_header.raw

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of frames, rows and columns."""
        return self.mrc_header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel value in native byte order."""
        return self.mrc_header.value_dtype

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def convert_pixels(decoded: NDArray[Any], shown: np.dtype[Any], start: int, size: int) -> NDArray[np.uint8]:
    """Return a byte range of pixels (uint8, shape (n,)), converted from the decoded type to the shown type.

    Parameters
    ----------
    decoded : ndarray, flat
        Pixels.
    shown : dtype
        Pixel type of the MRC file, at least as wide as that of `decoded`.
    start, size : int
        Offset and number of bytes in the shown type.
    """
    if decoded.dtype == shown:
        return decoded.view(np.uint8)[start : start + size]
    first, end = start // shown.itemsize, -(-(start + size) // shown.itemsize)
    return decoded[first:end].astype(shown).view(np.uint8)[start - first * shown.itemsize :][:size]
