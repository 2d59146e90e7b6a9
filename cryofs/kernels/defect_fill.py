"""Fill defects of a rendered image with the mean of good neighbours.

Neighbours are detector pixels. The value of a neighbour is the mean of its pixels in the rendered image, because single
rendered pixels contain too few electrons. In the first pass, a defect with good pixels among its eight neighbours gets
the mean of these pixels. Each further pass fills the next defects inwards from the pixels of the previous pass. The
passes are planned once for each gain reference, so that filling an image reads only the pixels it needs.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Number of passes: pixels deeper inside a defective area get the mean of its rim.
_DEEPEST = 64
_OUTSIDE, _DEFECT, _GOOD = 0, 1, 2


@dataclass(frozen=True)
class _Pass:
    """A pass: the indices of neighbours for all its means in order, the start of each mean, and its neighbour count."""

    neighbours: NDArray[np.int32]
    starts: NDArray[np.int64]
    counts: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DefectFill:
    """Plan for filling the defects of a gain reference.

    Attributes
    ----------
    gain : ndarray of float32, shape (upsampling * ny, upsampling * nx)
        Gain factors, 0 for defects.
    """

    gain: NDArray[np.float32]
    _upsampling: int
    _places: NDArray[np.int64]  # flat indices of the defects in the image, ascending
    _cells: NDArray[np.int64]  # index of the detector pixel of each defect, in the order of the passes
    _good: NDArray[np.int64]  # flat indices of the good detector pixels that the fill reads
    _passes: list[_Pass]
    _defects: int  # number of detector pixels with defects

    @classmethod
    def of(cls, gain: NDArray[np.float32], upsampling: int) -> Self:
        """Return the plan for a gain reference (float32, shape (ny, nx)), which must have good pixels."""
        places = np.flatnonzero(gain == 0)
        ny, nx = (length // upsampling for length in gain.shape)
        rows, columns = np.divmod(places, gain.shape[1])
        of_place = rows // upsampling * nx + columns // upsampling
        defective = np.zeros(ny * nx, bool)
        defective[of_place] = True
        good, defects, passes = _plan(defective.reshape(ny, nx))
        order = np.argsort(defects)
        cells = order[np.searchsorted(defects, of_place, sorter=order)] if len(places) else places
        return cls(gain, upsampling, places, cells, good, passes, len(defects))

    def values(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values of all defects of an image of counts (float32, shape (n,)), in the order of the image."""
        end = len(self._good)
        known = np.zeros(end + self._defects, np.float32)
        known[:end] = self._means(counts)
        for one in self._passes:
            sums = np.add.reduceat(known[one.neighbours], one.starts)
            known[end : end + len(sums)] = sums / one.counts
            end += len(sums)
        if len(self._good) < end < len(known):
            known[end:] = known[len(self._good) : end].mean()
        return known[len(self._good) + self._cells]

    def fill(self, rows: NDArray[np.float32], first: int, values: NDArray[np.float32]) -> None:
        """Write the values of defects, shape (n,), into rows of an image, shape (rows, columns), from `first` on."""
        offset = first * rows.shape[1]
        start, end = np.searchsorted(self._places, (offset, offset + rows.size))
        rows.reshape(-1)[self._places[start:end] - offset] = values[start:end]

    def _means(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Return the mean of counts times gain for each good detector pixel that the fill reads."""
        side = self._upsampling
        rows, columns = np.divmod(self._good, counts.shape[1] // side)
        within = rows, slice(None), columns
        cells = (len(counts) // side, side, -1, side)
        values = np.multiply(counts.reshape(cells)[within], self.gain.reshape(cells)[within], dtype=np.float32)
        means: NDArray[np.float32] = values.mean(axis=(1, 2))
        return means


def _plan(defective: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[_Pass]]:
    """Return the flat indices of good pixels to read, those of defects in the order of filling, and the passes."""
    width = defective.shape[1] + 2
    state = np.pad(np.where(defective, np.uint8(_DEFECT), np.uint8(_GOOD)), 1).reshape(-1)
    around = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx])
    left = front = np.flatnonzero(state == _DEFECT)
    layers: list[NDArray[np.int64]] = []
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    while len(layers) < _DEEPEST:
        front = front[_has_good(state, front, around)]
        if not len(front):
            break
        near = front[:, np.newaxis] + around
        known = state[near] == _GOOD
        found.append((near[known], known.sum(axis=1)))
        layers.append(front)
        state[front] = _GOOD
        front = np.unique(front[:, np.newaxis] + around)
        front = front[state[front] == _DEFECT]
    filled = np.concatenate((*layers, left[state[left] == _DEFECT]))
    needed = np.unique(np.concatenate([near for near, _ in found])) if found else left
    good = np.setdiff1d(needed, filled, assume_unique=True)
    passes = _passes(found, np.concatenate((good, filled)))
    return _unpadded(good, width), _unpadded(filled, width), passes


def _has_good(state: NDArray[np.uint8], places: NDArray[np.int64], around: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the places that have a good neighbour."""
    has_good = np.zeros(len(places), bool)
    for offset in around.tolist():
        has_good |= state[places + offset] == _GOOD
    return has_good


def _passes(found: list[tuple[NDArray[np.int64], NDArray[np.int64]]], known: NDArray[np.int64]) -> list[_Pass]:
    """Return the passes, with neighbours as indices into the list of known pixels."""
    order = np.argsort(known, kind="stable")
    ascending = known[order]
    return [
        _Pass(
            order[np.searchsorted(ascending, near)].astype(np.int32),
            np.concatenate(([0], np.cumsum(counts)[:-1])),
            counts.astype(np.float32),
        )
        for near, counts in found
    ]


def _unpadded(places: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Convert flat indices of a grid with a margin of one pixel to those of the grid without the margin."""
    rows, columns = np.divmod(places, width)
    unpadded: NDArray[np.int64] = (rows - 1) * (width - 2) + columns - 1
    return unpadded
