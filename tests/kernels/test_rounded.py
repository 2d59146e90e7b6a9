"""Gain-normalised integers: every value is restored, whatever the reference, and true counts need no exception."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cryofs.kernels import from_counts, multiply
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.kernels.lattice_estimate import CHANGED, MISMATCH, NEGATIVE, SEEN, LatticeEstimate
from cryofs.kernels.to_counts import COUNT_DTYPES, Counts, divide

INTEGERS = [one for one in Arithmetic if one.is_integer]
VALUES = [np.dtype("i2"), np.dtype("u2")]
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40))
SCALES = st.sampled_from([1.0, 10.0, 16.0, 32.7, 100.0, 1000.0]) | st.floats(2.0**-20, 65535, width=32)
Example = tuple[NDArray[Any], GainReference]


def any_gain(shape: tuple[int, int]) -> st.SearchStrategy[NDArray[np.float32]]:
    bits = arrays(np.uint32, shape, elements=st.integers(0, 2**32 - 1))
    near_one = arrays(np.float32, shape, elements=st.floats(0.5, 2.0, width=32))
    return bits.map(lambda one: one.view(np.float32)) | near_one


def restored(form: Counts, reference: GainReference, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = np.empty(form.stored.shape, dtype)
    reference.restore(form.stored, slice(0, len(values)), values)
    form.exceptions.put_back(values)
    return values


def exact(counts: NDArray[Any], reference: GainReference, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round products of float32 numbers in float64, by the name of the arithmetic."""
    products = counts.astype(np.float32) * (reference.gain * np.float32(reference.scale))
    wide = products.astype(np.float64)
    if reference.arithmetic is Arithmetic.ROUNDED:
        whole = np.rint(wide)
    else:
        whole = np.floor(wide + (0.5 if reference.arithmetic is Arithmetic.ROUNDED_UP else 0.0))
    return np.minimum(whole, np.iinfo(dtype).max).astype(dtype)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    shape, dtype = draw(SHAPES), draw(st.sampled_from(VALUES))
    values = draw(arrays(dtype, shape))
    return values, GainReference(draw(any_gain(shape))).scaled(draw(st.sampled_from(INTEGERS)), draw(SCALES))


@settings(max_examples=400)
@given(examples(), st.sampled_from(COUNT_DTYPES))
def test_any_values_under_any_reference_are_restored(example: Example, dtype: np.dtype[Any]) -> None:
    values, reference = example
    form = divide(values, reference, slice(0, len(values)), dtype)
    assert form.stored.dtype == dtype
    assert (np.diff(form.exceptions.positions) > 0).all()
    assert (np.diff(form.exceptions.near) > 0).all()
    assert restored(form, reference, values.dtype).tobytes() == values.tobytes()


@settings(max_examples=200)
@given(
    arrays(np.uint8, SHAPES),
    st.sampled_from(INTEGERS),
    st.sampled_from([10.0, 16.0, 32.7, 50.0, 100.0]),
    st.sampled_from(VALUES),
    st.integers(0, 2**32 - 1),
)
def test_true_counts_need_no_exception(
    counts: NDArray[np.uint8], arithmetic: Arithmetic, scale: float, dtype: np.dtype[Any], seed: int
) -> None:
    gain = np.random.default_rng(seed).normal(1, 0.05, counts.shape).astype(np.float32)
    reference = GainReference(gain).scaled(arithmetic, scale)
    values = exact(counts, reference, dtype)
    form = divide(values, reference, slice(0, len(values)), np.dtype("u1"))
    assert form.exceptions.count == 0
    np.testing.assert_array_equal(form.stored[::-1], counts)
    assert (form.highest, form.beyond) == (counts.max(), 0)


@pytest.mark.parametrize("arithmetic", INTEGERS, ids=lambda one: one.name)
def test_halves_are_rounded_by_the_arithmetic(arithmetic: Arithmetic) -> None:
    counts = np.arange(1, 8, dtype=np.uint8)[np.newaxis]
    reference = GainReference(np.full((1, 7), 0.5, np.float32)).scaled(arithmetic, 25)
    values = np.empty((1, 7), np.int16)
    reference.restore(counts, slice(0, 1), values)
    expected = {
        Arithmetic.ROUNDED: [12, 25, 38, 50, 62, 75, 88],
        Arithmetic.ROUNDED_UP: [13, 25, 38, 50, 63, 75, 88],
        Arithmetic.TRUNCATED: [12, 25, 37, 50, 62, 75, 87],
    }
    assert values[0].tolist() == expected[arithmetic]


def test_counts_beyond_the_stored_type_are_told_from_other_exceptions() -> None:
    reference = GainReference(np.full((1, 4), 1.02, np.float32)).scaled(Arithmetic.ROUNDED, 50)
    values = np.array([[51, 300 * 51, 77, -5]], np.int16)
    form = divide(values, reference, slice(0, 1), np.dtype("u1"))
    assert (form.highest, form.beyond, form.exceptions.count) == (300, 1, 3)
    assert restored(form, reference, values.dtype).tobytes() == values.tobytes()


@settings(max_examples=200)
@given(examples(), st.sampled_from(COUNT_DTYPES))
def test_compiled_code_restores_what_numpy_does(example: Example, dtype: np.dtype[Any]) -> None:
    values, reference = example
    counts = values.astype(dtype)
    expected, found = np.empty_like(values), np.empty_like(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_counts, "_multiply_rounded", None)
        reference.restore(counts, slice(0, len(values)), expected)
        patch.setattr(from_counts, "_multiply_rounded", multiply.multiply_rounded)
        reference.restore(counts, slice(0, len(values)), found)
    np.testing.assert_array_equal(found, expected)


def test_an_estimate_narrows_the_steps_of_pixels_until_they_predict_all_values() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(100, 3, (8, 50)).astype(np.float32)
    values = np.rint(rng.poisson(2.0, (40, 8, 50)) * steps).astype(np.int16)
    values[:, 3, 7] = rng.integers(0, 400, 40)
    values[:, 4, 8] = -5
    estimate = LatticeEstimate.empty(8, 50, 100.0, truncated=False)
    estimate.update(0, values)
    figures = estimate.update(0, values).sum(axis=0)
    assert figures[SEEN] == np.count_nonzero(values)
    assert figures[CHANGED] <= 40
    assert figures[MISMATCH] >= figures[NEGATIVE] == 40
    gain = estimate.reference(100)
    assert (gain[3, 7], gain[4, 8]) == (1, 1)
    assert np.abs(gain - steps / 100).max(initial=0, where=gain != 1) < 0.002
