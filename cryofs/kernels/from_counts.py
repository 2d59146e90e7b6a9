"""Counts back to values: the inverse of `cryofs.kernels.to_counts`. Page rows become frame rows, in reverse order.

Plain NumPy: it is as fast here as compiled loops, and a mount need not load a compiler.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Arithmetic(StrEnum):
    """How camera software made a value (float32) from a count; nobody documents it, so it is found out."""

    SINGLE = "count x gain in float32"
    DOUBLE = "count x gain in float64, rounded to float32"
    RECIPROCAL = "count / reciprocal gain in float32"


@dataclass(frozen=True, eq=False)
class GainReference:
    """A gain reference, and the arithmetic by which counts become values.

    Attributes
    ----------
    gain : ndarray of float32, shape (ny, nx)
        To be multiplied with counts; in SINGLE this gives the values to the last bit, in the others nearly.
    detail : ndarray of float32 or None
        What float32 cannot hold: in DOUBLE, gain + detail is the gain; in RECIPROCAL, the divisor of the counts.
    """

    gain: NDArray[np.float32]
    arithmetic: Arithmetic = Arithmetic.SINGLE
    detail: NDArray[np.float32] | None = None
    # the gain in DOUBLE, once it is needed; and a lock, as all who need it at first would take its memory otherwise
    _doubles: list[NDArray[np.float64]] = field(default_factory=list, init=False, repr=False)
    _doubling: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ny, nx = self.gain.shape
        return ny, nx

    def _double(self) -> NDArray[np.float64]:
        assert self.detail is not None
        with self._doubling:
            if not self._doubles:
                self._doubles.append(self.gain.astype(np.float64) + self.detail)
        return self._doubles[0]

    def restore(self, stored: NDArray[Any], rows: slice, values: NDArray[np.float32]) -> None:
        """Fill `values`, frame rows `rows` of a frame, from the page rows that hold them.

        Exceptions are to be put back after.
        """
        counts = stored[::-1]
        # references may hold anything, NaN and infinities too
        with np.errstate(all="ignore"):
            if self.arithmetic is Arithmetic.DOUBLE:
                np.multiply(counts, self._double()[rows], out=values, casting="same_kind")
                return
            values[...] = counts
            if self.arithmetic is Arithmetic.RECIPROCAL:
                assert self.detail is not None
                np.divide(values, self.detail[rows], out=values)
            else:
                np.multiply(values, self.gain[rows], out=values)


def array_in(memory: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of any contents, at the beginning of memory if that is given, whatever its shape and type."""
    if memory is None:
        return np.empty(shape, dtype)
    return memory.reshape(-1).view(np.uint8)[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def widen(stored: NDArray[Any], values: NDArray[Any]) -> None:
    """Fill `values`, frame rows of the original type, from page rows; exceptions are to be put back after."""
    with np.errstate(invalid="ignore", over="ignore"):
        np.copyto(values, stored[::-1], casting="unsafe")


@dataclass(frozen=True, eq=False)
class ExceptionValues:
    """Values of some rows that the counts do not give back; all positions ascend in the flattened rows.

    Attributes
    ----------
    positions : ndarray of int64
        Where values are stored as they were.
    originals : ndarray of unsigned integers
        Bits of these values.
    near : ndarray of int64
        Where values miss what is restored by their last bits only.
    steps : ndarray of int8
        By how much, in steps of the last bit: bits of the value less those restored.
    """

    positions: NDArray[np.int64]
    originals: NDArray[Any]
    near: NDArray[np.int64]
    steps: NDArray[np.int8]

    @classmethod
    def far(cls, positions: NDArray[np.int64], originals: NDArray[Any]) -> "ExceptionValues":
        """Exceptions of which none is near."""
        return cls(positions, originals, np.empty(0, np.int64), np.empty(0, np.int8))

    @classmethod
    def joined(cls, parts: "Sequence[tuple[int, ExceptionValues]]") -> "ExceptionValues":
        """Exceptions of neighbouring rows, each part with the flat index of its first value, in ascending order."""
        return cls(
            np.concatenate([start + part.positions for start, part in parts]),
            np.concatenate([part.originals for _, part in parts]),
            np.concatenate([start + part.near for start, part in parts]),
            np.concatenate([part.steps for _, part in parts]),
        )

    @property
    def count(self) -> int:
        """How many values are exceptions."""
        return len(self.positions) + len(self.near)

    def within(self, start: int, end: int) -> "ExceptionValues":
        """Those between two flat indices, as positions from the first of them on."""
        far, near = (
            slice(*np.searchsorted(positions, (start, end)).tolist()) for positions in (self.positions, self.near)
        )
        return ExceptionValues(
            self.positions[far] - start, self.originals[far], self.near[near] - start, self.steps[near]
        )

    def put_back(self, values: NDArray[Any]) -> None:
        """Write the exceptions into restored rows; positions beyond them raise IndexError."""
        bits = values.reshape(-1).view(self.originals.dtype)
        bits[self.positions] = self.originals
        if len(self.near):
            bits[self.near] += self.steps.astype(self.originals.dtype)
