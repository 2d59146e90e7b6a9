"""The interface of every kind of movie: the layout of an MRC file, its header, and its frames.

A frame is read in two phases. `Movie.read_frame` does all I/O and returns an `EncodedFrame`; `EncodedFrame.decode` only
computes. A movie is read-only and may be used by several threads at once: it keeps no position.
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
    """Stored bytes of a frame or row block, read and verified but not yet decoded."""

    @abstractmethod
    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Decode the frame or row block.

        Parameters
        ----------
        out : ndarray or None
            Memory of `Movie.decoded_bytes` that may be used for the result.

        Returns
        -------
        ndarray, flat
            The bytes of the MRC file, or pixels in a smaller type, which `Movie.mrc_bytes` converts.

        Raises
        ------
        DamagedError
            Stored data does not decode, or its checksum does not match.
        """


class InMemoryFrame(EncodedFrame):
    """A frame that needs no decoding."""

    def __init__(self, decoded: NDArray[Any]):
        self._decoded = decoded

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the frame."""
        return self._decoded


class EncodedRun(EncodedFrame):
    """Consecutive frames, which decode to their bytes in the MRC file; one damaged frame fails them all.

    Parameters
    ----------
    frame_bytes : int
        Size of a frame in the MRC file.
    mrc_bytes : callable or None
        Converts a decoded frame to the bytes of the MRC file; None if it decodes to them.
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
        """Return the frames, one after the other."""
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
        Name in messages.
    layout : Layout
        Sizes, known without decoding.
    identity : tuple
        Key of the content; decoded frames are cached under it.
    """

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
            The rows to read, as `row_block` returned them; None for the whole frame.

        Raises
        ------
        DamagedError
            Stored bytes are missing, or do not match their checksums.
        ChangedError
            The file was written to after it was opened.
        """

    def read_run(self, frames: range) -> EncodedFrame:
        """Read consecutive small frames, which decode to their bytes in the MRC file; errors as of `read_frame`."""
        return self.run_of(list(map(self.read_frame, frames)))

    def run_of(self, frames: Sequence[EncodedFrame]) -> EncodedRun:
        """Return frames that were read as a run."""
        size = self.layout.frame_bytes
        return EncodedRun(frames, size, lambda decoded: self.mrc_bytes(decoded, 0, size))

    @abstractmethod
    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return bytes after the last frame; `offset` counts from there. Fewer only at the end of the file."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

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
        """Return the rows that are decoded together with a row, or None if only whole frames are decoded."""
        return None

    @property
    def frame_unit(self) -> str:
        """Noun for the frames of the MRC file, in the plural."""
        return "frames"

    @property
    def scale(self) -> float:
        """Factor that the values were multiplied with so that whole numbers hold them; 1 for all others."""
        return 1.0

    def histogram_frame(self, index: int) -> NDArray[Any]:
        """Return the data of a frame for histograms: counts if the movie stores them, otherwise values."""
        return self.frame(index)

    @property
    def decodes_at_once(self) -> int:
        """Number of frames to decode at the same time for a sequential reader; above 1 if a decode uses one core."""
        return 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the MRC file."""
        return self.mrc_header.row_bytes

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size in bytes of a decoded frame or row block in memory."""
        return self.layout.frame_bytes if rows is None else len(rows) * self.row_bytes

    @property
    def is_prepared(self) -> bool:
        """Whether `mrc_bytes` needs no I/O."""
        return True

    def prepare(self) -> None:
        """Load what `mrc_bytes` needs, as `read_frame` does."""
        return

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return `size` bytes of the MRC file from a decoded frame or row block, fewer at its end.

        Parameters
        ----------
        start : int
            First byte, counted from the first row of the frame or row block.
        memory : ndarray
            At least `size` bytes that may be used for the result.
        """
        return decoded[start : start + size]

    def mrc_frame(self, index: int) -> NDArray[np.uint8]:
        """Read and decode a frame; return its bytes in the MRC file, shape (n,)."""
        return self.mrc_bytes(self.read_frame(index).decode(), 0, self.layout.frame_bytes)

    def mrc_run(self, frames: range) -> NDArray[np.uint8]:
        """Return the bytes of consecutive small frames as the MRC file holds them, shape (n,)."""
        return self.read_run(frames).decode()

    def frame(self, index: int) -> NDArray[Any]:
        """Return the values of a frame, shape (ny, nx), rows in the order of the MRC file (from the bottom)."""
        return mrc.shown_values(self.mrc_frame(index), self.mrc_header)

    def frames(self) -> Iterator[NDArray[Any]]:
        """Iterate over the values of all frames."""
        return (self.frame(index) for index in range(self.layout.frames))

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
        return self.mrc_header.value_dtype

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def convert_pixels(decoded: NDArray[Any], shown: np.dtype[Any], start: int, size: int) -> NDArray[np.uint8]:
    """Return a byte range of pixels after conversion from the decoded type to the shown type, at least as wide.

    Parameters
    ----------
    start, size : int
        Offset and number of bytes in the shown type.
    """
    if decoded.dtype == shown:
        return decoded.view(np.uint8)[start : start + size]
    first, end = start // shown.itemsize, -(-(start + size) // shown.itemsize)
    return decoded[first:end].astype(shown).view(np.uint8)[start - first * shown.itemsize :][:size]
