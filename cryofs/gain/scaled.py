"""Gain-normalised movies of 16-bit integers: recognise them, and find scale and rounding for a reference.

Their values are round(count x gain x scale). Movies of counts have values of 1, others have no gaps between the
multiples of a scale, so a few rows decide.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.formats.mrc import MODE_INT16, MODE_UINT16
from cryofs.formats.record import Gain
from cryofs.gain.samples import Sample, take_samples
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.movies.gain_library import ROUNDINGS
from cryofs.movies.source import SourceMovie

SCALED_MODES = (MODE_INT16, MODE_UINT16)

# Scales that are searched, in steps that are small compared to the width of a multiple.
_SCALES = np.geomspace(4.0, 8192.0, 512)
# Multiples of the scale that are compared with the values.
_MULTIPLES = 2.5
# Mean closeness of values to the multiples of a scale, from -1 to 1: 0.98 for a gain spread of 3 %, 0.55 for 15 %.
_CLOSENESS = 0.45
# Shares that a counting camera exceeds up to about eight electrons per frame: of zeros among all values, and of larger
# counts among the others.
_LEAST_ZEROS = 2e-4
_LEAST_LARGER = 1e-3
# Share of defects, above that of any detector.
_DEFECTS = 0.01
# Counts must take at most this share of the bits of the values, or a reference is not worth its space.
_LEAST_SAVING = 0.9
# Scales that programs use, if the typical step is within this distance.
_USUAL_SCALES = (5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1000, 1024, 2000, 2048)
_USUAL = 0.02
# Counts from which the scale for a reference is computed, and their largest distance from a multiple, in multiples.
_FITTED_COUNTS = 6
_FITTED = 0.25
# Largest distance of a value from a multiple when the scale is nearly known.
_FARTHEST = 3.0
# The scale is searched in this part around the mean.
_WINDOW = 1e-3
# A reference fits if at most this share of the sampled counts are exceptions.
_MATCHING_SHARE = 0.2


@dataclass(frozen=True)
class Fit:
    """A reference with scale and rounding, and the share of the sampled counts that are exceptions."""

    reference: GainReference
    exceptions: float

    @property
    def matches(self) -> bool:
        """Whether the reference belongs to the movie."""
        return self.exceptions <= _MATCHING_SHARE

    def recorded(self, gain: Gain) -> Gain:
        """Return the entry for records of a movie from that of the reference."""
        arithmetic = self.reference.arithmetic
        rounding = next(name for name, one in ROUNDINGS.items() if one is arithmetic)
        return Gain(gain.sha256, gain.name, arithmetic.value, float(self.reference.scale), rounding)


def typical_step(samples: list[Sample]) -> float | None:
    """Return the most frequent value of one count, or None if the values are not scaled gain-normalised counts."""
    numbers, histogram = _histogram(samples)
    zeros, negative = histogram[numbers == 0].sum(), histogram[numbers < 0].sum()
    numbers, histogram = numbers[numbers > 0], histogram[numbers > 0]
    seen = histogram.sum()
    # defects may be negative
    if not seen or zeros < _LEAST_ZEROS * (zeros + seen) or negative > _DEFECTS * seen:
        return None
    if histogram[numbers == 1].sum() > 0.5 * (1 - _CLOSENESS) * seen:
        return None  # far from all multiples of any scale
    closeness = np.array([_closeness(numbers, histogram, scale) for scale in _SCALES])
    if closeness.max() < _CLOSENESS:
        return None
    # a half and a third of the scale are close to all values as well, so the largest one counts
    largest = np.flatnonzero(closeness >= _CLOSENESS)[-1]
    near = np.flatnonzero(_SCALES[largest] / 1.5 <= _SCALES)
    scale = _SCALES[near[np.argmax(closeness[near])]]
    one = (numbers > 0.6 * scale) & (numbers < 1.4 * scale)
    if not one.any() or histogram[numbers > 1.5 * scale].sum() < _LEAST_LARGER * seen:
        return None
    step = float(np.average(numbers[one], weights=histogram[one]))
    counts = np.bincount(np.rint(numbers / step).astype(np.int64), weights=histogram)
    if _bits(np.append(counts, zeros)) > _LEAST_SAVING * _bits(np.append(histogram, zeros)):
        return None
    return step


def step_of(movie: SourceMovie) -> float | None:
    """Return the typical step of a movie from its samples, or None if its values are not scaled counts."""
    return typical_step(take_samples(movie)) if movie.mrc_header.mode in SCALED_MODES else None


def usual_scale(step: float) -> float:
    """Return the scale by which steps are divided to make a reference near 1: a usual one if it is near."""
    nearest = min(_USUAL_SCALES, key=lambda scale: abs(scale - step))
    return float(nearest) if abs(nearest - step) <= _USUAL * step else float(round(step))


def fit(gain: NDArray[np.float32], samples: list[Sample], step: float) -> Fit:
    """Return a reference with the scale and the rounding that restore most of the samples.

    Parameters
    ----------
    gain : ndarray of float32, shape (ny, nx)
        Factor of the counts, 1.0 at defects.
    step : float
        Result of `typical_step`.
    """
    parts = _multiples(gain, samples, step)
    nearest = _scale(parts, truncated=False, step=step)
    truncated = _scale(parts, truncated=True, step=step)
    # whole numbers and the usual arithmetic first, for equal results
    tried = [
        (arithmetic, number)
        for arithmetic, scale in (
            (Arithmetic.ROUNDED, nearest),
            (Arithmetic.ROUNDED_UP, nearest),
            (Arithmetic.TRUNCATED, truncated),
        )
        for number in (float(round(scale)), scale)
        if number == scale or abs(number - scale) <= _WINDOW * scale
    ]
    references = [GainReference(gain).scaled(arithmetic, scale) for arithmetic, scale in dict.fromkeys(tried)]
    fits = [Fit(reference, _exception_share(reference, samples)) for reference in references]
    return min(fits, key=lambda found: found.exceptions)


def _histogram(samples: list[Sample]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values = np.concatenate([sample.values.reshape(-1) for sample in samples]).astype(np.int64)
    lowest = min(int(values.min()), 0)
    histogram = np.bincount(values - lowest)
    numbers = np.flatnonzero(histogram)
    return numbers + lowest, histogram[numbers]


def _closeness(numbers: NDArray[np.int64], histogram: NDArray[np.int64], scale: float) -> float:
    """Return how close small values are to multiples of a scale other than 0, from -1 to 1."""
    end = np.searchsorted(numbers, _MULTIPLES * scale)
    few, weights = numbers[:end], histogram[:end]
    if not len(few):
        return -1.0
    closeness = np.where(few < 0.5 * scale, -1.0, np.cos(2 * np.pi / scale * few))
    return float(np.average(closeness, weights=weights))


def _bits(histogram: NDArray[np.float64]) -> float:
    """Return the entropy of a histogram in bits."""
    shares = histogram[histogram > 0] / histogram.sum()
    return float(-(shares * np.log2(shares)).sum())


def _multiples(
    gain: NDArray[np.float32], samples: list[Sample], step: float
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return count x gain and the values of each sample, where the count is clear."""
    usable = np.isfinite(gain) & (gain > 0)
    if (known := usable & (gain != 1)).any():
        usable = known
    if not usable.any():
        return []
    scale = step / float(np.median(gain[usable][:: max(usable.sum() // 10000, 1)]))
    farthest = np.inf
    for most in (1, _FITTED_COUNTS, _FITTED_COUNTS):
        parts = [_clear_multiples(gain, usable, sample, scale, most, farthest) for sample in samples]
        if not (squares := sum(float(products @ products) for products, _ in parts)):
            return []
        scale = sum(float(products @ values) for products, values in parts) / squares
        # now without defects, whose values are near a multiple by chance
        farthest = _FARTHEST if most > 1 else np.inf
    return parts


def _clear_multiples(
    gain: NDArray[np.float32],
    usable: NDArray[np.bool_],
    sample: Sample,
    scale: float,
    most: int,
    farthest: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return count x gain and the values of usable pixels that are near a multiple of gain x scale."""
    places = usable[sample.rows] & (sample.values > 0)
    factors, values = gain[sample.rows][places].astype(np.float64), sample.values[places].astype(np.float64)
    counts = np.rint(values / (factors * scale))
    products = counts * factors
    distances = np.abs(values - products * scale)
    clear = (counts > 0) & (counts <= most) & (distances < np.minimum(_FITTED * scale * factors, farthest))
    return products[clear], values[clear]


def _scale(parts: list[tuple[NDArray[np.float64], NDArray[np.float64]]], *, truncated: bool, step: float) -> float:
    """Return the roundest scale that restores most values.

    The mean of the rounding errors of a few distinct gains is not 0. So each value confines the scale to an interval,
    and the scale lies in most of them.
    """
    products, values = (np.concatenate([np.empty(0), *(part[place] for part in parts)]) for place in (0, 1))
    if not len(products):
        return step
    below, above = (0.0, 1.0) if truncated else (0.5, 0.5)
    mean = float(products @ (values + (above - below) / 2)) / float(products @ products)
    low, high = mean * (1 - _WINDOW), mean * (1 + _WINDOW)
    starts, ends = (values - below) / products, (values + above) / products
    covering = np.count_nonzero((starts < low) & (ends >= low))
    starts, ends = starts[(starts >= low) & (starts <= high)], ends[(ends >= low) & (ends <= high)]
    places = np.concatenate([starts, ends])
    changes = np.repeat([1, -1], [len(starts), len(ends)])
    # intervals include their ends
    order = np.lexsort((-changes, places))
    places, covered = places[order], covering + np.cumsum(changes[order])
    if not len(places) or covered.max() <= covering:
        return _roundest(low, places[0] if len(places) else high)
    best = int(np.argmax(covered))
    return _roundest(places[best], places[best + 1] if best + 1 < len(places) else high)


def _roundest(low: float, high: float) -> float:
    """Return the number with the fewest decimal places between two numbers."""
    middle = 0.5 * (low + high)
    return next((round(middle, digits) for digits in range(9) if low <= round(middle, digits) <= high), middle)


def _exception_share(reference: GainReference, samples: list[Sample]) -> float:
    """Return the share of the sampled counts that are exceptions, without defects if there are other pixels."""
    exceptions, counted = np.zeros(2, int), np.zeros(2, int)
    for sample in samples:
        found = to_counts.divide(sample.values, reference, sample.rows, np.dtype("u2")).exceptions
        wrong = np.zeros(sample.values.size, bool)
        wrong[found.positions] = wrong[found.near] = True
        shown, known = (sample.values != 0).reshape(-1), (reference.gain[sample.rows] != 1).reshape(-1)
        exceptions += np.count_nonzero(wrong & known), np.count_nonzero(wrong)
        counted += np.count_nonzero(shown & known), np.count_nonzero(shown)
    known_or_all = 0 if counted[0] else 1
    return float(exceptions[known_or_all] / max(counted[known_or_all], 1))
