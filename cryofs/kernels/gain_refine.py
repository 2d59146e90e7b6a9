"""Estimate gains with more precision than float32, from values with known counts.

A float32 gain does not reproduce movies whose camera software multiplied in double precision, or divided by the
reciprocal. As in `cryofs.kernels.gain_estimate`, each value confines the real gain to an interval whose products with
the count round to that value. Any gain in the intersection reproduces all values; for a reciprocal gain, the
intersection contains the reciprocal of a float32. An empty intersection means that values were rounded more than once.
The gain is then the sum of the values divided by the sum of the counts, and values differ from its products in their
last bits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.compiled import compiled
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.kernels.gain_estimate import interval

_MAX_COUNT = 65535
# Maximum relative distance between a value and the nearest multiple of the gain: about 64 last bits.
_FARTHEST = 2.0**-18


@dataclass
class Refinement:
    """State of the refinement of a row block, in arrays of shape (rows, nx).

    Attributes
    ----------
    gain : ndarray of float32
        Approximate gain; 1.0 at defects.
    low, high : ndarray of float64
        Intersection of the intervals; low > high where it is empty.
    value_sum, count_sum : ndarray of float64
        Sums of values and of their counts.
    """

    gain: NDArray[np.float32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    value_sum: NDArray[np.float64]
    count_sum: NDArray[np.float64]

    @classmethod
    def of(cls, gain: NDArray[np.float32]) -> "Refinement":
        """Return a refinement of `gain`, shape (rows, nx), without values."""
        low, value_sum, count_sum = (np.zeros(gain.shape, np.float64) for _ in range(3))
        return cls(gain, low, np.full(gain.shape, np.inf), value_sum, count_sum)

    def update(self, values: NDArray[np.float32]) -> None:
        """Update the state with rows of several frames (float32, shape (frames, rows, nx))."""
        _update(values, self.gain, self.low, self.high, self.value_sum, self.count_sum)

    def references(self) -> dict[Arithmetic, GainReference]:
        """Return the best reference of these rows for each arithmetic other than SINGLE."""
        seen = self.count_sum > 0
        # values that are not multiples of a gain may overflow float32, and become exceptions later
        with np.errstate(all="ignore"):
            inside = np.where(self.low <= self.high, 0.5 * (self.low + self.high), self.value_sum / self.count_sum)
            gain = np.where(seen, inside, self.gain)
            single = gain.astype(np.float32)
            detail = {Arithmetic.DOUBLE: (gain - single).astype(np.float32), Arithmetic.RECIPROCAL: _reciprocals(gain)}
        return {arithmetic: GainReference(single, arithmetic, part) for arithmetic, part in detail.items()}


def _reciprocals(gain: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.reciprocal(gain).astype(np.float32)


@compiled
def _update(values, gain, low, high, value_sum, count_sum):  # type: ignore[no-untyped-def]
    frames, rows, nx = values.shape
    for frame in range(frames):
        for row in range(rows):
            for x in range(nx):
                value = values[frame, row, x]
                if not 0 < value < np.inf:
                    continue
                double = np.float64(value)
                quotient = double / gain[row, x]
                count = np.rint(quotient)
                if count == 0 or count > _MAX_COUNT or abs(quotient - count) > count * _FARTHEST:
                    continue
                below, above = interval(value, count, 0.0)
                low[row, x] = max(low[row, x], below)
                high[row, x] = min(high[row, x], above)
                value_sum[row, x] += double
                count_sum[row, x] += count
