"""Match gain references with movies, based on a few rows of each movie."""

import numpy as np

from cryofs.gain.samples import Sample
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import GainReference
from cryofs.kernels.gain_estimate import GainEstimate

# Maximum share of exceptions in the counts of a movie that a reference matches: far more than defects cause, and far
# less than with another gain, which restores nearly no value. Rounding differences in the last bits do not count.
_MATCHING_SHARE = 0.25


def matches(reference: GainReference, samples: list[Sample]) -> bool:
    """Return True if a reference matches the samples of a movie."""
    return exception_share(reference, samples, near=False) <= _MATCHING_SHARE


def matches_estimate(estimate: GainEstimate, samples: list[Sample], tolerance: float) -> bool:
    """Return True if the samples match the gain of an estimate in progress.

    After a few frames, the estimates of many pixels are still multiples of the gain, so a value matches if it has a
    common divisor with the estimate. Values that were rounded more than once have no common divisor. For these, the
    reference must restore the samples except for the last bits.
    """
    mismatches = counted = 0
    for sample in samples:
        part = estimate.rows(sample.rows)
        before = part.reliability.copy()
        part.update(0, np.ascontiguousarray(sample.values[np.newaxis], np.float32), 1, tolerance)
        known = (before > 0) & (sample.values != 0)
        mismatches += int(np.count_nonzero(known & (part.reliability < before)))
        counted += int(np.count_nonzero(known))
    return mismatches <= _MATCHING_SHARE * counted or matches(GainReference(estimate.reference()), samples)


def exception_share(reference: GainReference, samples: list[Sample], *, near: bool = True) -> float:
    """Return the share of the sampled counts that the reference does not restore.

    Zeros are ignored, because they match any gain. Pixels with gain 1.0, which are defects or had no counts in the
    estimate, are also ignored, unless the samples have no other pixels.

    Parameters
    ----------
    near : bool
        Whether values that differ only in their last bits count as exceptions.
    """
    exceptions = np.zeros(2, int)
    counted = np.zeros(2, int)
    for sample in samples:
        wrong = np.zeros(sample.values.size, bool)
        found = to_counts.divide(sample.values, reference, sample.rows, np.dtype("u2")).exceptions
        wrong[found.positions] = True
        if near:
            wrong[found.near] = True
        shown = (sample.values != 0).reshape(-1)
        known = (reference.gain[sample.rows] != 1).reshape(-1)
        exceptions += np.count_nonzero(wrong & known), np.count_nonzero(wrong)
        counted += np.count_nonzero(shown & known), np.count_nonzero(shown | wrong)
    known_or_all = 0 if counted[0] else 1
    return float(exceptions[known_or_all] / max(counted[known_or_all], 1))
