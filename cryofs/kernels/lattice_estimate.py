"""Estimate the gain of movies of 16-bit integers: values of one pixel are its multiples of a step, rounded.

A value confines the step of its pixel, gain x scale, to an interval: of width 1 / count around value / count. Any step
in the intersection of these intervals restores all values. Which multiple a value is follows from the step found so
far. The first value of a pixel is compared with the typical step of the movie; if it is too large for that, the next
value decides, because few steps are common to two values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled

# Weight of a mismatch in agreeing values; the reliability of a pixel that starts over is minus this.
_MISMATCH_COST = 4
_MAX_RELIABILITY = 30000
_MAX_COUNT = 65535
# Largest count that the first value of a pixel may be, and its largest distance in typical steps.
_FIRST_COUNTS = 3
_FARTHEST = np.array([0.0, 0.5, 0.3, 0.25])
# Smallest and largest step, in typical steps, that two larger values may have in common.
_SMALLEST, _LARGEST = 0.7, 1.4

SEEN, CHANGED, MISMATCH, NEGATIVE, BECAME_RELIABLE = range(5)


@dataclass
class LatticeEstimate:
    """State of the estimation of each pixel. All arrays have shape (ny, nx), rows in frame order.

    Attributes
    ----------
    typical : float
        Step of a pixel with gain 1.
    below, above : float
        Largest distances of the product from its value: 0.5 and 0.5 if products are rounded, 0 and 1 if truncated.
    low, high : ndarray of float32
        Interval of steps consistent with the values seen. Where `low` is 0, the step is unknown, and `high` is the last
        value, or 0 if no value was seen.
    reliability : ndarray of int16
        Number of agreeing values minus weighted mismatches; positive for a usable estimate.
    """

    typical: float
    below: float
    above: float
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    reliability: NDArray[np.int16]

    @classmethod
    def empty(cls, ny: int, nx: int, typical: float, *, truncated: bool) -> "LatticeEstimate":
        """Return an estimate without any data."""
        below, above = (0.0, 1.0) if truncated else (0.5, 0.5)
        low, high = (np.zeros((ny, nx), np.float32) for _ in range(2))
        return cls(typical, below, above, low, high, np.zeros((ny, nx), np.int16))

    def reference(self, scale: float) -> NDArray[np.float32]:
        """Return the steps divided by a scale, 1.0 at defects and at pixels without values."""
        middle = (0.5 * (self.low.astype(np.float64) + self.high) / np.float32(scale)).astype(np.float32)
        return np.where(self.reliability > 0, middle, np.float32(1))

    def update(self, first_row: int, values: NDArray[np.integer]) -> NDArray[np.int64]:
        """Update the estimate with a row block of several frames, shape (frames, rows, nx).

        Row blocks are independent: threads may update different row blocks of one estimate.

        Returns
        -------
        ndarray of int64, shape (frames, 5)
            Values that are not 0, values that changed a prediction, mismatches, negative values, and the net number of
            pixels that became reliable.
        """
        statistics = np.zeros((len(values), 5), np.int64)
        rows = slice(first_row, first_row + values.shape[1])
        limits = np.float32(self.typical), np.float32(self.below), np.float32(self.above)
        _update(values, self.low[rows], self.high[rows], self.reliability[rows], limits, statistics)
        return statistics


@compiled
def _update(values, low, high, reliability, limits, statistics):  # type: ignore[no-untyped-def]
    frames, rows, nx = values.shape
    seen = np.empty(nx, np.int32)
    for row in range(rows):
        for frame in range(frames):
            # without branches, which the processor cannot predict
            found = 0
            for x in range(nx):
                seen[found] = x
                found += values[frame, row, x] != 0
            statistics[frame, SEEN] += found
            state = low[row], high[row], reliability[row]
            _update_row(values[frame, row], seen[:found], *state, limits, statistics[frame])


@compiled
def _update_row(values, seen, low, high, reliability, limits, statistics):  # type: ignore[no-untyped-def]
    """Process the values that are not 0, at the places `seen`."""
    typical, below, above = limits
    half = np.float32(0.5)
    lean = half * (above - below)
    most, zero = np.float32(_MAX_COUNT), np.float32(0)
    changed, mismatches, negative, became_reliable = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for place in range(len(seen)):
        x = seen[place]
        value, before = np.float32(values[x]), reliability[x]
        if low[x] == 0 and value > 0:
            first, last = _first(value, typical, below, above)
            if high[x] > 0:
                first, last = _joined(high[x], value, first, last, limits)
            low[x], high[x] = first, last if first > 0 else value
            if first > 0:
                reliability[x] = before + 1
                changed += 1
                became_reliable += before == 0
            continue
        step = half * (low[x] + high[x])
        count = np.rint((value + lean) / step)
        first, last = max(low[x], (value - below) / count), min(high[x], (value + above) / count)
        if zero < count <= most and first <= last:
            changed += abs(count * step - value - lean) > half
            low[x], high[x] = first, last
            reliability[x] = min(before + 1, _MAX_RELIABILITY)
        else:
            mismatches += 1
            negative += value < 0
            reliability[x] = max(before - _MISMATCH_COST, -_MISMATCH_COST)
            if value > 0 and reliability[x] <= 0:
                first, last = _first(value, typical, below, above)
                low[x], high[x] = first, last if first > 0 else value
        became_reliable += np.int64(reliability[x] > 0) - np.int64(before > 0)
    statistics[CHANGED] += changed
    statistics[MISMATCH] += mismatches
    statistics[NEGATIVE] += negative
    statistics[BECAME_RELIABLE] += became_reliable


@compiled
def _first(value, typical, below, above):  # type: ignore[no-untyped-def]
    """Return the interval of the step from the first value of a pixel; 0 if its count is not clear."""
    count = np.rint(value / typical)
    if not 0 < count <= _FIRST_COUNTS or abs(value / typical - count) > _FARTHEST[np.int64(count)]:
        return np.float32(0), np.float32(0)
    return np.float32((value - below) / count), np.float32((value + above) / count)


@compiled
def _joined(before, value, first, last, limits):  # type: ignore[no-untyped-def]
    """Narrow the interval of the step with the value before; find it from both values if it is 0."""
    typical, below, above = limits
    if first == 0:
        return _common(before, value, typical, below, above)
    lean = np.float32(0.5) * (above - below)
    count = np.float32(np.rint((before + lean) / (np.float32(0.5) * (first + last))))
    narrower = max(first, (before - below) / count), min(last, (before + above) / count)
    return narrower if narrower[0] <= narrower[1] else (first, last)


@compiled
def _common(one, other, typical, below, above):  # type: ignore[no-untyped-def]
    """Return the interval of the step nearest to the typical one that two values have in common; 0 if there is none."""
    best_first = best_last = np.float32(0)
    lean = np.float32(0.5) * (above - below)
    least, most = int(np.ceil(one / (typical * _LARGEST))), int(one / (typical * _SMALLEST))
    for count in range(max(least, 1), most + 1):
        first, last = (one - below) / np.float32(count), (one + above) / np.float32(count)
        times = np.float32(np.rint((other + lean) / (np.float32(0.5) * (first + last))))
        if times == 0:
            continue
        first, last = max(first, (other - below) / times), min(last, (other + above) / times)
        if first <= last and (best_first == 0 or abs(first - typical) < abs(best_first - typical)):
            best_first, best_last = first, last
    return best_first, best_last
