"""Estimate gains: the greatest common divisor of the values of each pixel, exact to the last bit of a float32.

The values of a gain-normalised counting movie are float32(count) * gain, rounded. RELION's estimator
(relion_convert_to_tiff --estimate_gain) uses the smallest positive value seen. Here a value that is not a multiple of
the estimate refines it by Euclid's algorithm, so that 3 g and 2 g give g even if g itself does not occur. Rounding is
modelled exactly: each value confines the gain to the interval of real numbers whose product with the count rounds to
that value. The estimate is a float32 in the intersection of these intervals, so it reproduces the values. After 16
agreeing values a pixel is settled, and further agreeing values no longer narrow the intersection. This affects only a
pixel whose first 16 values all share a factor, and costs it an exception or two.

Defective pixels contain averages of their neighbours, which have no common divisor. Their reliability does not become
positive, and `GainEstimate.reference` sets them to 1.0.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled

# Largest denominator of a continued fraction. A larger divisor would mean that no two counts so far share a factor,
# which happens at defects by chance, but practically not at a counting pixel.
_MAX_DIVISOR = 64
# Gains of neighbours may also have a common divisor (both are 281.74 / k), which implausibly large counts reveal.
_MAX_COUNT_REFINING = 255
_MAX_COUNT = 65535
_MAX_COUNT_F4 = np.float32(_MAX_COUNT)
# Relative error of a quotient of two rounded values, with a safety margin.
_QUOTIENT_TOLERANCE = 2.0**-22
# Relative distance by which an open interval end is moved inwards: far smaller than the distance to any other product
# (about 2**-25 / count), and far larger than the rounding error of the interval arithmetic, which _SLACK covers.
_OPEN_END = 2.0**-40
_SLACK = 2.0**-44
# Weight of a mismatch in agreeing values; a pixel that starts again has the negative weight as its reliability.
_MISMATCH_COST = 8
_MAX_RELIABILITY = np.int16(30000)
# Number of agreeing values after which the interval is no longer narrowed, because that many counts of a pixel
# practically never share a factor.
_SETTLED = 16
# Adding and subtracting 1.5 * 2**23 rounds a float32 below 2**22 to the nearest integer.
_ROUND = np.float32(12582912.0)

# Maximum difference between a value and count x gain that RELION accepts; it reads the reference as float32.
_RELION_TOLERANCE = np.float32(1e-4)

CHANGED, MISMATCH, NEGATIVE, BECAME_RELIABLE = range(4)


@dataclass
class GainEstimate:
    """State of the estimation of each pixel, in arrays of shape (ny, nx), rows in frame order.

    Attributes
    ----------
    gain : ndarray of float32
        Current estimate; 0 for pixels without values.
    low, high : ndarray of float32
        Interval of gains consistent with all values, as offsets relative to `gain`; NaN if `gain` is the only value so
        far.
    reliability : ndarray of int16
        Number of agreeing values minus weighted mismatches; 0 for pixels without values, positive for a valid gain.
    mismatched : ndarray of bool
        Pixels that ever had a negative value, or a value farther than 1e-4 from all multiples of the estimate and
        without a common divisor. RELION never accepts these as reliable, and stops at another such value.
    """

    gain: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    reliability: NDArray[np.int16]
    mismatched: NDArray[np.bool_]

    @classmethod
    def empty(cls, ny: int, nx: int) -> "GainEstimate":
        """Return an estimate without any data."""
        gain, low, high = (np.zeros((ny, nx), np.float32) for _ in range(3))
        return cls(gain, low, high, np.zeros((ny, nx), np.int16), np.zeros((ny, nx), np.bool_))

    def rows(self, rows: slice) -> "GainEstimate":
        """Return a copy of the estimate for some rows, for trial updates."""
        parts = (self.gain, self.low, self.high, self.reliability, self.mismatched)
        gain, low, high, reliability, mismatched = (part[rows].copy() for part in parts)
        return GainEstimate(gain, low, high, reliability, mismatched)  # type: ignore[arg-type]

    def reference(self) -> NDArray[np.float32]:
        """Return the reference to multiply counts with (float32), 1.0 at defects and at pixels without values."""
        return np.where(self.reliability > 0, self.gain, np.float32(1))

    def relion_reliability(self) -> NDArray[np.int16]:
        """Return the reliability map that RELION's converter reads (int16, shape (ny, nx)).

        At pixels with a reliability of 50 or more, the converter divides values by the gain, and stops at a value that
        is not a multiple of the gain. At all other pixels, the converter keeps the values.
        """
        usable = (self.reliability > 0) & ~self.mismatched
        return np.where(usable, self.reliability, np.int16(-1))

    @property
    def share_without_gain(self) -> float:
        """Share of the pixels with values that have no common divisor."""
        seen = self.gain != 0
        without = np.count_nonzero(seen & (self.reliability <= 0))
        return without / max(int(np.count_nonzero(seen)), 1)

    def update(
        self, first_row: int, values: NDArray[np.float32], thresh: int, tolerance: float = 0.0
    ) -> NDArray[np.int64]:
        """Update the estimate with a row block of several frames.

        Row blocks are independent: threads may update different row blocks of one estimate.

        Parameters
        ----------
        values : ndarray of float32, shape (frames, rows, nx)
        thresh : int
            Minimum reliability of a reliable pixel.
        tolerance : float
            Maximum difference between a value and the rounded product, in last bits.

        Returns
        -------
        ndarray of int64, shape (frames, 4)
            For each frame: changed pixels, mismatches, negative values, net number of pixels that became reliable.
        """
        statistics = np.zeros((len(values), 4), np.int64)
        band = slice(first_row, first_row + values.shape[1])
        state = self.gain[band], self.low[band], self.high[band], self.reliability[band], self.mismatched[band]
        _update(values, *state, thresh, tolerance, statistics)
        return statistics


@compiled
def _update(values, gain, low, high, reliability, mismatched, thresh, tolerance, statistics):  # type: ignore[no-untyped-def]
    frames, rows, nx = values.shape
    odd = np.empty(nx, np.bool_)
    for row in range(rows):
        for frame in range(frames):
            line = values[frame, row]
            if _count_agreeing(line, gain[row], reliability[row], odd, thresh, statistics[frame]):
                state = gain[row], low[row], high[row], reliability[row], mismatched[row]
                _update_odd(line, odd, *state, thresh, tolerance, statistics[frame])


@compiled
def _count_agreeing(values, gain, reliability, odd, thresh, statistics):  # type: ignore[no-untyped-def]
    """Process zeros and multiples at settled pixels with vector instructions; mark and count all other values."""
    found = 0
    became_reliable = 0
    for x in range(len(values)):
        value = values[x]
        count = (value / gain[x] + _ROUND) - _ROUND
        # A product with 1 or 2 is exact, so such a value does not narrow the interval.
        usual = (count * gain[x] == value) & (value > 0) & (count <= _MAX_COUNT_F4)
        usual &= (reliability[x] >= _SETTLED) | (count <= 2)
        grown = np.int16(reliability[x] + usual)
        became_reliable += usual & (grown == thresh)
        reliability[x] = min(grown, _MAX_RELIABILITY)
        odd[x] = (not usual) & (value != 0)
        found += odd[x]
    statistics[BECAME_RELIABLE] += became_reliable
    return found


@compiled
def _update_odd(  # type: ignore[no-untyped-def]
    values, odd, gain, low, high, reliability, mismatched, thresh, tolerance, statistics
):
    """Process the marked pixels: first values, larger multiples that narrow the interval, and mismatches."""
    for x in range(len(values)):
        if not odd[x]:
            continue
        value = values[x]
        before = reliability[x]
        positive = value > 0 and value < np.inf
        if positive and gain[x] == 0:
            gain[x], low[x], high[x] = value, np.nan, np.nan
            statistics[CHANGED] += 1
            reliability[x] = 1
            statistics[BECAME_RELIABLE] += thresh <= 1
            continue
        below, above = 1.0, 0.0
        if positive:
            below, above, divisor = _intersect(value, gain[x], low[x], high[x], tolerance)
        if below <= above * (1.0 + _SLACK):
            old = gain[x]
            # there may be no float32 between the ends, although the estimate is still a multiple of the gain
            if divisor > 1 or not below <= old <= above:
                gain[x] = 0.5 * (below + above)
            low[x] = below / np.float64(gain[x]) - 1.0
            high[x] = above / np.float64(gain[x]) - 1.0
            statistics[CHANGED] += gain[x] != old and before > 0
            reliability[x] = before + 1
        else:
            statistics[MISMATCH] += 1
            statistics[NEGATIVE] += value < 0
            missed = np.abs(np.rint(value / gain[x]) * gain[x] - value)
            # written as "not <=", so that NaN and infinity count as mismatches
            mismatched[x] |= value < 0 or not missed <= _RELION_TOLERANCE
            reliability[x] = max(before - _MISMATCH_COST, -_MISMATCH_COST)
            if positive and reliability[x] <= 0:
                gain[x], low[x], high[x] = value, np.nan, np.nan
        statistics[BECAME_RELIABLE] += np.int64(reliability[x] >= thresh) - np.int64(before >= thresh)


@compiled
def _intersect(value, gain, low, high, tolerance):  # type: ignore[no-untyped-def]
    """Return the interval of the common divisor of estimate and value (empty without one), and estimate / divisor."""
    old = np.float64(gain)
    multiple = (value / gain + _ROUND) - _ROUND
    if multiple * gain == value and multiple <= _MAX_COUNT_F4:
        count, divisor = np.float64(multiple), 1.0
    else:
        count, divisor = _common_divisor(np.float64(value) / old, _QUOTIENT_TOLERANCE * (1.0 + 2.0 * tolerance))
    if divisor == 0:
        return 1.0, 0.0, divisor
    below, above = interval(value, count, tolerance)
    if np.isnan(low):
        old_below, old_above = interval(gain, 1.0, tolerance)
    else:
        old_below, old_above = old * (1.0 + np.float64(low)), old * (1.0 + np.float64(high))
    return max(below, old_below / divisor), min(above, old_above / divisor), divisor


@compiled
def _common_divisor(quotient, tolerance):  # type: ignore[no-untyped-def]
    """Return the smallest (count, divisor) with count / divisor = quotient, by Euclid's algorithm, or (0, 0)."""
    count, count_before = 1.0, 0.0
    divisor, divisor_before = 0.0, 1.0
    rest = quotient
    while True:
        whole = math.floor(rest)
        count, count_before = whole * count + count_before, count
        divisor, divisor_before = whole * divisor + divisor_before, divisor
        if divisor > _MAX_DIVISOR or count > _MAX_COUNT:
            return 0.0, 0.0
        if count > 0 and abs(quotient * divisor - count) <= count * tolerance:
            return (count, divisor) if divisor == 1 or count <= _MAX_COUNT_REFINING else (0.0, 0.0)
        if rest - whole < 1e-9:
            return 0.0, 0.0
        rest = 1.0 / (rest - whole)


@compiled
def interval(value, count, tolerance):  # type: ignore[no-untyped-def]
    """Return the interval of real gains whose product with `count` rounds to the float32 `value`, within a tolerance.

    Ties round to even.
    """
    bits = np.float32(value).view(np.uint32)
    centre = np.float64(value)
    half_below = 0.5 * (centre - np.float64(np.uint32(bits - 1).view(np.float32)))
    half_above = 0.5 * (np.float64(np.uint32(bits + 1).view(np.float32)) - centre)
    below = centre - half_below * (1.0 + 2.0 * tolerance)
    above = centre + half_above * (1.0 + 2.0 * tolerance)
    if bits & 1:
        below, above = below * (1.0 + _OPEN_END), above * (1.0 - _OPEN_END)
    return below / count, above / count
