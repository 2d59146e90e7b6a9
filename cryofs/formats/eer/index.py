"""The index of an EER file, which is read without decoding events."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# Detectors have 4096 pixels along each side; a much larger size means that the file is damaged.
MAX_SIDE = 8192


@dataclass(frozen=True)
class EventCode:
    """Bit layout of an event: run length, sub-pixel x, and sub-pixel y, each with the least significant bit first.

    Attributes
    ----------
    long_bits : int
        Size in bits of a code whose run length is all ones. Such a code advances without placing an event.
    """

    run_bits: int
    x_bits: int
    y_bits: int
    long_bits: int

    @property
    def bits(self) -> int:
        """Size of an event in bits."""
        return self.run_bits + self.x_bits + self.y_bits

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """Sizes in bits of run length, sub-pixel x, sub-pixel y, and a code of all ones, as `sum_events` takes them."""
        return self.run_bits, self.x_bits, self.y_bits, self.long_bits

    @property
    def with_other_overflow(self) -> "EventCode | None":
        """The same layout with the other rule for sub-pixel bits after a run length of all ones, or None."""
        if self.bits == self.run_bits:
            return None
        return replace(self, long_bits=self.run_bits if self.long_bits == self.bits else self.bits)


CODE_8BIT = EventCode(8, 2, 2, 12)
CODE_7BIT = EventCode(7, 2, 2, 7)


@dataclass(frozen=True)
class EerIndex:
    """Location of the frames of an EER file.

    Attributes
    ----------
    ny, nx : int
        Rows and columns of the detector.
    code : EventCode
        Bit layout of an event that most programs assume for this compression.
    offsets, byte_counts : ndarray of int64
        Offset and size in bytes of the strips of all frames, in order.
    first_strips : ndarray of int64, shape (frames + 1,)
        Index of the first strip of each frame. The strips of a frame form one stream.
    intact : ndarray of bool, shape (frames,)
        False for a damaged frame: one of invalid size, with strips beyond the end of the file, or marked as bad by the
        camera.
    metadata : dict
        Metadata of the acquisition program by name, as text.
    other_code : EventCode or None
        Bit layout that some cameras use with the same compression; None if there is only one.
    """

    ny: int
    nx: int
    code: EventCode
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    first_strips: NDArray[np.int64]
    intact: NDArray[np.bool_]
    metadata: dict[str, str]
    other_code: EventCode | None = None

    @property
    def frames(self) -> int:
        """Number of camera frames."""
        return len(self.intact)

    @property
    def frame_bytes(self) -> NDArray[np.int64]:
        """Size of the event stream of each frame in bytes, int64 of shape (frames,)."""
        ends_of_strips = np.concatenate([[0], np.cumsum(self.byte_counts)])
        return np.diff(ends_of_strips[self.first_strips])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the detector."""
        return self.ny, self.nx
