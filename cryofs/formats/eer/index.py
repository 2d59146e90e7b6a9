"""What is known of an EER file before any event is decoded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Detectors have 4096 pixels a side; far larger claims come from damaged files.
MAX_SIDE = 8192


@dataclass(frozen=True)
class EventCode:
    """Layout of an event: run length, then sub-pixel x, then sub-pixel y, least significant bit first.

    Attributes
    ----------
    long_bits : int
        Bits that a run length of all ones takes, which advances and places no event.
    """

    run_bits: int
    x_bits: int
    y_bits: int
    long_bits: int

    @property
    def bits(self) -> int:
        """Bits of an event."""
        return self.run_bits + self.x_bits + self.y_bits


CODE_8BIT = EventCode(8, 2, 2, 12)
CODE_7BIT = EventCode(7, 2, 2, 7)


@dataclass(frozen=True)
class EerIndex:
    """Where the frames of an EER file lie.

    Attributes
    ----------
    ny, nx : int
        Pixels of the detector.
    code : EventCode
        How an event is laid out.
    offsets, byte_counts : ndarray of int64
        Strips of all frames, in order.
    first_strips : ndarray of int64, shape (frames + 1,)
        Number of the first strip of each frame; the strips of a frame are one stream.
    intact : ndarray of bool, shape (frames,)
        False where a frame cannot be whole: strips beyond the end of the file, too few or too many bytes for an image
        of this size, or marked as bad by the camera.
    metadata : dict
        What the acquisition program noted, by name; values as they are written.
    """

    ny: int
    nx: int
    code: EventCode
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    first_strips: NDArray[np.int64]
    intact: NDArray[np.bool_]
    metadata: dict[str, str]

    @property
    def frames(self) -> int:
        """Frames as the camera took them."""
        return len(self.intact)

    @property
    def frame_bytes(self) -> NDArray[np.int64]:
        """Bytes of the stream of each frame."""
        ends_of_strips = np.concatenate([[0], np.cumsum(self.byte_counts)])
        return np.diff(ends_of_strips[self.first_strips])

    @property
    def geometry(self) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Rows and columns, and the bits of an event's parts, as the rendering takes them."""
        return (self.ny, self.nx), (self.code.run_bits, self.code.x_bits, self.code.y_bits, self.code.long_bits)
