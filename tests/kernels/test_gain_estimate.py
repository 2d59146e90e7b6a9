"""Gain estimation: the estimate reproduces the values of each pixel to the last bit, and identifies defects."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.simulate import Detector
from cryofs.kernels.gain_estimate import BECAME_RELIABLE, CHANGED, MISMATCH, NEGATIVE, GainEstimate

GAINS = st.floats(0.25, 4, width=32).map(np.float32)
POWERS = {1, 2, 4, 8, 16, 32}
GOOD = [1, 2, 1, 3, 1, 2, 4, 1, 1, 2, 5, 1, 3, 2, 1, 1, 2, 1, 6, 1]
GAIN = np.float32(281.74) / np.float32(245)


def feed(estimate: GainEstimate, values: Sequence[float], thresh: int = 50) -> NDArray[np.int64]:
    """Update the estimate with values of one pixel, one per frame; return the statistics."""
    return estimate.update(0, np.array(values, np.float32).reshape(-1, 1, 1), thresh)


def estimate_of(values: Sequence[float]) -> GainEstimate:
    estimate = GainEstimate.empty(1, 1)
    feed(estimate, values)
    return estimate


def shown(gain: np.float32, counts: Iterable[int]) -> list[float]:
    return [float(np.float32(count) * gain) for count in counts]


def check_reproduces(gain: np.float32, counts: Sequence[int]) -> None:
    estimate = estimate_of(shown(gain, counts))
    (found,) = estimate.gain[0]
    for value in np.array(shown(gain, counts), np.float32):
        assert np.rint(value / found) * found == value
    if POWERS.intersection(counts):
        assert found == gain
    assert estimate.reliability[0, 0] > 0
    assert estimate.reference()[0, 0] == found


@settings(max_examples=500)
@given(
    GAINS, st.lists(st.integers(1, 63), min_size=1, max_size=30).filter(lambda counts: reduce(math.gcd, counts) == 1)
)
def test_the_estimate_reproduces_every_value(gain: np.float32, counts: list[int]) -> None:
    check_reproduces(gain, counts)


@pytest.mark.parametrize(
    ("gain", "counts"),
    [(0.45711747, [21] * 5 + [63, 37]), (1.8100715, [9] * 5 + [45, 46]), (0.35490412, [3] * 5 + [48, 54, 26])],
)
def test_a_settled_estimate_reproduces_later_values(gain: float, counts: list[int]) -> None:
    check_reproduces(np.float32(gain), counts)


@given(GAINS, st.permutations([2, 3]), st.integers(0, 5))
def test_two_counts_determine_a_gain_that_never_occurred(gain: np.float32, order: list[int], zeros: int) -> None:
    assert estimate_of([*shown(gain, order[:1]), *[0.0] * zeros, *shown(gain, order[1:])]).gain[0, 0] == gain


def test_an_estimate_without_values() -> None:
    estimate = GainEstimate.empty(2, 3)
    statistics = estimate.update(0, np.zeros((4, 2, 3), np.float32), 1)
    assert not statistics.any()
    assert (estimate.reliability == 0).all()
    assert (estimate.reference() == 1).all()
    assert estimate.reference().dtype == np.float32


@pytest.mark.parametrize("mean", [0.1, 0.5, 1.45])
def test_defects_have_no_gain(mean: float) -> None:
    detector = Detector.make((60, 61), defects=30)
    estimate = GainEstimate.empty(*detector.shape)
    estimate.update(0, np.stack(list(detector.frames(200, mean))), 50)
    expected = detector.gain.copy()
    expected.reshape(-1)[detector.defects] = 1
    assert np.array_equal(estimate.reference(), expected)


@pytest.mark.parametrize("settled", [False, True], ids=["new pixel", "settled pixel"])
@pytest.mark.parametrize(
    ("value", "mismatch", "negative"),
    [
        (math.nan, 1, 0),
        (math.inf, 1, 0),
        (-math.inf, 1, 1),
        (-1.5, 1, 1),
        (-1e-45, 1, 1),
        (-0.0, 0, 0),
        (0.0, 0, 0),
    ],
)
def test_values_that_are_not_counts(value: float, mismatch: int, negative: int, settled: bool) -> None:
    estimate = estimate_of(shown(GAIN, GOOD) if settled else [])
    before = estimate.reliability[0, 0]
    (row,) = feed(estimate, [value])
    assert row[[CHANGED, MISMATCH, NEGATIVE]].tolist() == [0, mismatch, negative]
    assert (estimate.reliability[0, 0] < before) == bool(mismatch)
    assert estimate.reference()[0, 0] == (GAIN if settled else 1)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_any_values_leave_a_usable_reference(bits: list[int]) -> None:
    estimate = estimate_of(np.array(bits, np.uint32).view(np.float32).tolist())
    (reference,) = estimate.reference()[0]
    assert math.isfinite(reference)
    assert reference > 0


@pytest.mark.parametrize("place", [0, 1, 3, 10, 39])
@pytest.mark.parametrize("glitch", [math.nan, math.inf, -3.0, 1e-30, 1e-42, 1e30, 0.7182818, 1.3777777, 100.12345])
def test_a_pixel_recovers_from_one_outlier(glitch: float, place: int) -> None:
    values = shown(GAIN, GOOD * 3)
    estimate = estimate_of([*values[:place], glitch, *values[place:]])
    assert estimate.reference()[0, 0] == GAIN
    assert feed(estimate, shown(GAIN, GOOD))[:, MISMATCH].sum() == 0


@pytest.mark.parametrize("glitch", [0.7182818, 1.3777777, 100.12345])
def test_an_outlier_does_not_change_a_settled_estimate(glitch: float) -> None:
    estimate = estimate_of(shown(GAIN, GOOD))
    assert feed(estimate, [glitch])[0, MISMATCH] == 1
    assert estimate.gain[0, 0] == GAIN


@pytest.mark.parametrize("thresh", [1, 5, 50])
def test_statistics_add_up(thresh: int) -> None:
    detector = Detector.make((20, 21), defects=10)
    values = np.stack(list(detector.frames(100)))
    values[30, 5] = -1
    values[31, 6, :7] = math.nan
    estimate = GainEstimate.empty(*detector.shape)
    statistics = np.concatenate([estimate.update(0, values[part : part + 8], thresh) for part in range(0, 100, 8)])
    assert statistics.shape == (100, 4)
    assert statistics[:, BECAME_RELIABLE].sum() == np.count_nonzero(estimate.reliability >= thresh)
    assert statistics[:, NEGATIVE].tolist() == [21 if frame == 30 else 0 for frame in range(100)]
    assert (statistics[:, MISMATCH] >= statistics[:, NEGATIVE]).all()
    assert statistics[31, MISMATCH] >= 7
    assert statistics[0, CHANGED] == np.count_nonzero(values[0]), "every first value is a change"
    assert statistics[:, CHANGED].sum() >= np.count_nonzero(estimate.gain)


def test_statistics_of_single_frames() -> None:
    estimate = GainEstimate.empty(1, 5)
    frames = np.array([[[3, 0, 2, 5, -1]], [[2, 0, 2, 5.5, 4]], [[5, 1, 2, -5, 0]]], np.float32)
    columns = [CHANGED, MISMATCH, NEGATIVE, BECAME_RELIABLE]
    # thresh 2: the first pixel is reliable from its second value on, which also changes it from 3 to 1
    found = estimate.update(0, frames, 2)[:, columns].tolist()
    assert found == [[3, 1, 1, 0], [3, 0, 0, 3], [1, 1, 1, -1]]
    assert estimate.gain[0].tolist() == [1, 1, 2, 0.5, 4]


def test_row_blocks_are_independent() -> None:
    detector = Detector.make((33, 40), defects=20)
    values = np.stack(list(detector.frames(20)))
    whole = GainEstimate.empty(*detector.shape)
    banded = GainEstimate.empty(*detector.shape)
    expected = whole.update(0, values, 5)
    found = sum(
        banded.update(first, np.ascontiguousarray(values[:, first : first + 8]), 5) for first in range(32, -1, -8)
    )
    assert np.array_equal(found, expected)
    for name in ("gain", "low", "high", "reliability"):
        assert getattr(banded, name).tobytes() == getattr(whole, name).tobytes(), name


def test_a_mismatched_pixel_is_unreliable_for_relion() -> None:
    odd = [*shown(GAIN, GOOD * 5), 1.5, *shown(GAIN, GOOD * 5)]
    estimate = estimate_of(odd)
    assert estimate.reliability[0, 0] > 50
    assert estimate.relion_reliability()[0, 0] == -1
    assert estimate_of([*shown(GAIN, GOOD), -1.0, *shown(GAIN, GOOD)]).relion_reliability()[0, 0] == -1
    # RELION tolerates rounding, and Euclid's algorithm resolves this value without a mismatch
    nearly = [*shown(GAIN, GOOD), float(np.nextafter(GAIN, np.float32(2))), *shown(GAIN, GOOD)]
    for values in (shown(GAIN, [3, 2, *GOOD]), nearly):
        estimate = estimate_of(values)
        assert estimate.relion_reliability()[0, 0] == estimate.reliability[0, 0] > 0
    assert GainEstimate.empty(1, 1).relion_reliability()[0, 0] == -1


def test_rows_returns_a_copy() -> None:
    estimate = estimate_of(shown(GAIN, GOOD))
    before = {name: array.copy() for name, array in vars(estimate).items()}
    estimate.rows(slice(0, 1)).update(0, np.full((1, 1, 1), 1.5, np.float32), 1)
    for name, array in before.items():
        assert np.array_equal(array, vars(estimate)[name], equal_nan=True)
