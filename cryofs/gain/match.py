"""Whether a gain reference serves a movie, judged by a few strips of it."""

import numpy as np

from cryofs.gain.samples import Sample
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import GainReference

# A reference serves a movie when no more than this share of its counts are exceptions: far above defects, far below
# what another gain leaves (nearly all). Values that miss by their last bits only are rounding, of whatever kind.
_FITTING_SHARE = 0.25


def fits(reference: GainReference, samples: list[Sample]) -> bool:
    """Whether a reference serves the movie that the samples are of."""
    return exception_share(reference, samples, near=False) <= _FITTING_SHARE


def exception_share(reference: GainReference, samples: list[Sample], *, near: bool = True) -> float:
    """Share of the sampled counts that the reference does not restore, where it knows a gain.

    Zeros belong to any gain, and 1.0 stands for pixels that are defects or have shown nothing yet; where only such
    pixels were sampled, they are what counts.

    Parameters
    ----------
    near : bool
        Whether values that miss by their last bits only count, too.
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
