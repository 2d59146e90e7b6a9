"""Refined gains reproduce all values, also those of a reciprocal gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.kernels.gain_refine import Refinement

GAINS = st.floats(0.25, 4)
COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=30)


def refined(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], gain: float) -> Refinement:
    """Return the references refined from the values of one pixel."""
    refinement = Refinement.of(np.full((1, 1), gain, np.float32))
    refinement.update(values.reshape(-1, 1, 1))
    return refinement


def restored(reference: GainReference, counts: list[int]) -> list[float]:
    found = np.empty((1, 1), np.float32)
    values = []
    for count in counts:
        reference.restore(np.array([[count]], np.uint8), slice(0, 1), found)
        values.append(float(found[0, 0]))
    return values


@given(GAINS, COUNTS)
def test_a_gain_of_double_precision_restores_all_values(gain: float, counts: list[int]) -> None:
    values = (np.array(counts) * gain).astype(np.float32)
    refinement = refined(values, gain)
    assert refinement.low[0, 0] <= gain <= refinement.high[0, 0]
    assert restored(refinement.references()[Arithmetic.DOUBLE], counts) == values.tolist()


@given(GAINS, COUNTS)
def test_a_reciprocal_gain_restores_all_values(gain: float, counts: list[int]) -> None:
    reciprocal = np.float32(1 / gain)
    values = np.array(counts, np.float32) / reciprocal
    found = refined(values, 1 / float(reciprocal)).references()[Arithmetic.RECIPROCAL]
    assert restored(found, counts) == values.tolist()


def test_rounding_twice_yields_the_mean() -> None:
    counts = np.arange(1, 61)
    factor, scale = np.float32(1.1371), np.float32(1.0371)
    values = counts.astype(np.float32) * factor * scale
    refinement = refined(values, float(factor) * float(scale))
    assert refinement.low[0, 0] > refinement.high[0, 0]
    reference = refinement.references()[Arithmetic.DOUBLE]
    assert reference.detail is not None
    gain = float(reference.gain[0, 0]) + float(reference.detail[0, 0])
    assert gain == pytest.approx(float(factor) * float(scale), rel=2**-24)


@pytest.mark.parametrize("odd", [0.0, -1.5, np.nan, np.inf, 1.6, 1e9])
def test_values_that_are_not_counts_are_ignored(odd: float) -> None:
    refinement = refined(np.array([odd], np.float32), 1.25)
    assert (refinement.low[0, 0], refinement.high[0, 0]) == (0, np.inf)
    reference = refinement.references()[Arithmetic.DOUBLE]
    assert (reference.gain[0, 0], reference.detail) == (1.25, np.zeros((1, 1), np.float32))
