"""Convert counts to values, the inverse of `cryofs.kernels.to_counts`.

Frame rows are page rows in reverse order. NumPy alone supports all conversions, so that a mount does not wait for a
compiler; after `load_compiled`, compiled code performs the most common one.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.kernels.orientation import Orientation

# The compiled multiplications; None until `load_compiled`.
_multiply: Callable[[NDArray[Any], NDArray[np.float32], int, NDArray[np.float32]], bool] | None = None
_multiply_rounded: Callable[[NDArray[Any], NDArray[np.float32], NDArray[np.float32], NDArray[Any]], bool] | None = None


class Arithmetic(StrEnum):
    """Arithmetic with which the camera software computed values from counts."""

    SINGLE = "count x gain in float32"
    DOUBLE = "count x gain in float64, rounded to float32"
    RECIPROCAL = "count / reciprocal gain in float32"
    # values of 16 bits
    ROUNDED = "count x gain x scale, rounded, ties to even"
    ROUNDED_UP = "count x gain x scale, rounded, halves up"
    TRUNCATED = "count x gain x scale, truncated"

    @property
    def is_integer(self) -> bool:
        """Whether values are 16-bit integers."""
        return self in OFFSETS


# Adding 1.5 * 2**23 to a float32 below 2**22, and subtracting it again, rounds to the nearest integer, ties to even.
# Unlike rint, this compiles to vector instructions.
SHIFT = np.float32(12582912.0)
# Truncating product + first - second gives the integer value.
OFFSETS = {
    Arithmetic.ROUNDED: (SHIFT, SHIFT),
    Arithmetic.ROUNDED_UP: (np.float32(0.5), np.float32(0)),
    Arithmetic.TRUNCATED: (np.float32(0), np.float32(0)),
}


@dataclass(frozen=True, eq=False)
class GainReference:
    """A gain reference, and the arithmetic that converts counts to values.

    Attributes
    ----------
    gain : ndarray of float32, shape (ny, nx)
        Factors of the counts. The products are exact to the last bit for SINGLE, and approximate for other arithmetic.
    detail : ndarray of float32 or None
        For DOUBLE, gain + detail is the exact gain; for RECIPROCAL, detail is the divisor of the counts; otherwise
        None.
    scale : float
        Factor of the gain for integer values, rounded to float32 before use; 1 for float32 values.
    """

    gain: NDArray[np.float32]
    arithmetic: Arithmetic = Arithmetic.SINGLE
    detail: NDArray[np.float32] | None = None
    scale: float = 1.0
    # the gain of DOUBLE, computed at the first use; the lock prevents several threads from allocating it
    _doubles: list[NDArray[np.float64]] = field(default_factory=list, init=False, repr=False)
    _doubles_lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        ny, nx = self.gain.shape
        return ny, nx

    def turned(self, orientation: Orientation) -> "GainReference":
        """Return the reference in another orientation."""
        detail = None if self.detail is None else np.ascontiguousarray(orientation.turned(self.detail))
        return GainReference(np.ascontiguousarray(orientation.turned(self.gain)), self.arithmetic, detail, self.scale)

    def scaled(self, arithmetic: Arithmetic, scale: float) -> "GainReference":
        """Return a reference with the same gain for integer values."""
        return GainReference(self.gain, arithmetic, None, scale)

    def integer_numbers(self, dtype: np.dtype[Any]) -> NDArray[np.float32]:
        """Return what kernels of integer values need: scale, both offsets, and the largest value of a type."""
        return np.array([self.scale, *OFFSETS[self.arithmetic], np.iinfo(dtype).max], np.float32)

    def _double(self) -> NDArray[np.float64]:
        assert self.detail is not None
        with self._doubles_lock:
            if not self._doubles:
                self._doubles.append(self.gain.astype(np.float64) + self.detail)
        return self._doubles[0]

    def restore_part(self, stored: NDArray[Any], row: int, first: int, values: NDArray[np.float32]) -> None:
        """Restore consecutive values, shape (n,), which may begin and end inside a row; see `restore`.

        Parameters
        ----------
        stored : ndarray, shape (rows, nx)
            Page rows that contain the frame rows from `row` on.
        first : int
            Flat index of the first value, relative to the start of that row.
        """
        rows, nx = stored.shape
        is_single = self.arithmetic is Arithmetic.SINGLE
        if is_single and _multiply is not None and _multiply(stored, self.gain[row : row + rows], first, values):
            return
        for top, bottom, left, right in _rectangles(first, first + len(values), nx):
            part = values[top * nx + left - first : (bottom - 1) * nx + right - first].reshape(bottom - top, -1)
            place = slice(row + top, row + bottom), slice(left, right)
            self.restore(stored[rows - bottom : rows - top, left:right], place[0], part, place[1])

    def restore(self, stored: NDArray[Any], rows: slice, values: NDArray[Any], columns: slice = slice(None)) -> None:
        """Restore the frame rows `rows`, or some of their columns, from the same page rows into `values` (same shape).

        The caller restores exceptions afterwards.
        """
        if self.arithmetic.is_integer:
            self._restore_integers(stored, self.gain[rows, columns], values)
            return
        counts = stored[::-1]
        # a reference may contain NaN and infinity
        with np.errstate(all="ignore"):
            if self.arithmetic is Arithmetic.DOUBLE:
                np.multiply(counts, self._double()[rows, columns], out=values, casting="same_kind")
                return
            values[...] = counts
            if self.arithmetic is Arithmetic.RECIPROCAL:
                assert self.detail is not None
                np.divide(values, self.detail[rows, columns], out=values)
            else:
                np.multiply(values, self.gain[rows, columns], out=values)

    def _restore_integers(self, stored: NDArray[Any], gain: NDArray[np.float32], values: NDArray[Any]) -> None:
        numbers = self.integer_numbers(values.dtype)
        if _multiply_rounded is not None and _multiply_rounded(stored, gain, numbers, values):
            return
        scale, first, second, top = numbers
        with np.errstate(all="ignore"):
            products = stored[::-1].astype(np.float32)
            products *= gain * scale
            # fmax turns NaN into 0
            np.minimum(np.fmax(products, np.float32(0), out=products), top, out=products)
            products += first
            products -= second
            np.copyto(values, products, casting="unsafe")


def load_compiled() -> None:
    """Load compiled code that multiplies counts with the gain in one pass."""
    global _multiply, _multiply_rounded
    from cryofs.kernels import multiply

    _multiply, _multiply_rounded = multiply.multiply, multiply.multiply_rounded


def _rectangles(first: int, end: int, nx: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield at most three rectangles that cover a range of values: first and last row, first and last column."""
    top, left = divmod(first, nx)
    bottom, right = divmod(end, nx)
    if top == bottom:
        yield top, top + 1, left, right
        return
    if left:
        yield top, top + 1, left, nx
        top += 1
    if bottom > top:
        yield top, bottom, 0, nx
    if right:
        yield bottom, bottom + 1, 0, right


def array_in(memory: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an uninitialised array, which uses the start of `memory` (any shape and type) unless it is None."""
    if memory is None:
        return np.empty(shape, dtype)
    return memory.reshape(-1).view(np.uint8)[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def widen(stored: NDArray[Any], values: NDArray[Any]) -> None:
    """Convert page rows to frame rows in `values`, both of shape (rows, nx); the caller then restores exceptions."""
    with np.errstate(invalid="ignore", over="ignore"):
        np.copyto(values, stored[::-1], casting="unsafe")


@dataclass(frozen=True, eq=False)
class ExceptionValues:
    """Values of some rows that counts do not reproduce; positions are ascending indices into the flattened rows.

    Attributes
    ----------
    positions : ndarray of int64
        Positions of far exceptions, whose original values are stored.
    originals : ndarray of unsigned integers
        Bits of the original values at `positions`.
    near : ndarray of int64
        Positions of near exceptions, which differ from the restored value only in the last bits.
    steps : ndarray of int8
        Differences of near exceptions in last bits: bits of the value minus bits of the restored value.
    """

    positions: NDArray[np.int64]
    originals: NDArray[Any]
    near: NDArray[np.int64]
    steps: NDArray[np.int8]

    @classmethod
    def far(cls, positions: NDArray[np.int64], originals: NDArray[Any]) -> "ExceptionValues":
        """Return an instance with only far exceptions; both arrays have shape (n,)."""
        return cls(positions, originals, np.empty(0, np.int64), np.empty(0, np.int8))

    @classmethod
    def joined(cls, parts: "Sequence[tuple[int, ExceptionValues]]") -> "ExceptionValues":
        """Return the exceptions of adjacent row blocks, in ascending order, each with the index of its first value."""
        return cls(
            np.concatenate([start + part.positions for start, part in parts]),
            np.concatenate([part.originals for _, part in parts]),
            np.concatenate([start + part.near for start, part in parts]),
            np.concatenate([part.steps for _, part in parts]),
        )

    @property
    def count(self) -> int:
        """Number of exceptions."""
        return len(self.positions) + len(self.near)

    def within(self, start: int, end: int) -> "ExceptionValues":
        """Return the exceptions between two flat indices, with positions relative to `start`."""
        if not self.count:
            return self
        far, near = (
            slice(*np.searchsorted(positions, (start, end)).tolist()) for positions in (self.positions, self.near)
        )
        return ExceptionValues(
            self.positions[far] - start, self.originals[far], self.near[near] - start, self.steps[near]
        )

    def put_back(self, values: NDArray[Any]) -> None:
        """Write the exceptions into restored rows, shape (rows, n); raise IndexError for positions outside."""
        if not self.count:
            return
        bits = values.reshape(-1).view(self.originals.dtype)
        bits[self.positions] = self.originals
        if len(self.near):
            bits[self.near] += self.steps.astype(self.originals.dtype)
