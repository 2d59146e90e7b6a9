"""Values to counts and back: identical bits for any values and any gain."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cryofs.kernels.from_counts import Arithmetic, GainReference, widen
from cryofs.kernels.to_counts import Counts, divide, narrow, narrowest_dtype

# zeros, denormals, one, infinities, quiet and signalling NaN with payloads, and their negatives
SPECIAL = [0, 1, 0x7FFFFF, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7FA00001, 0x7FFFFFFF]
SIGNED_SPECIAL = np.array([*SPECIAL, *(bits | 1 << 31 for bits in SPECIAL)], np.uint32)
ANY_BITS = st.sampled_from(SIGNED_SPECIAL.tolist()) | st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 40))
COUNT_DTYPES = [np.dtype(name) for name in ("u1", "u2")]
SINGLE = Arithmetic.SINGLE
FLOATS = [one for one in Arithmetic if not one.is_integer]
ALL = slice(None)
STORED_DTYPES = [np.dtype(name) for name in ("u1", "i1", "u2", "i2", "f4")]
SOURCE_DTYPES = [np.dtype(name) for name in ("f4", "f2", "i1", "i2", "u1", "u2")]


def drawn(draw: st.DrawFn, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Draw an array of any bits at once, which is much faster than value by value."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape).copy()


@st.composite
def float32s(draw: st.DrawFn, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Arrays of any float32 bits, half of them special ones."""
    bits, choices = drawn(draw, shape, "u4"), drawn(draw, shape, "u1")
    special = choices < 128
    bits[special] = SIGNED_SPECIAL[choices[special] % len(SIGNED_SPECIAL)]
    return bits.view(np.float32)


def sane_reference(arithmetic: Arithmetic, shape: tuple[int, ...], seed: int = 0) -> GainReference:
    """Return a reference of gains near 1, with the detail that the arithmetic needs."""
    gain = np.random.default_rng(seed).uniform(0.5, 2, shape)
    near = gain.astype(np.float32)
    if arithmetic is Arithmetic.DOUBLE:
        return GainReference(near, arithmetic, (gain - near).astype(np.float32))
    if arithmetic is Arithmetic.RECIPROCAL:
        reciprocal = (1 / gain).astype(np.float32)
        return GainReference(np.float32(1) / reciprocal, arithmetic, reciprocal)
    return GainReference(near)


def values_of(counts: NDArray[Any], reference: GainReference) -> NDArray[np.float32]:
    """Return the values that camera software computes from counts."""
    if reference.arithmetic is Arithmetic.SINGLE:
        return counts.astype(np.float32) * reference.gain
    assert reference.detail is not None
    if reference.arithmetic is Arithmetic.RECIPROCAL:
        return counts.astype(np.float32) / reference.detail
    return (counts * (reference.gain.astype(np.float64) + reference.detail)).astype(np.float32)


def divided(values: NDArray[np.float32], reference: GainReference, dtype: np.dtype[Any]) -> Counts:
    return divide(values, reference, slice(0, len(values)), dtype)


def restored(form: Counts, reference: GainReference, rows: slice = ALL) -> NDArray[np.float32]:
    values = np.empty(form.stored.shape, np.float32)
    reference.restore(form.stored, rows, values)
    form.exceptions.put_back(values)
    return values


def widened(form: Counts, dtype: np.dtype[Any], columns: int) -> NDArray[Any]:
    """Return the values of whole rows; columns that are not stored are 0 except at exceptions."""
    values = np.zeros((len(form.stored), columns), dtype)
    widen(form.stored, values[:, : form.stored.shape[1]])
    form.exceptions.put_back(values)
    return values


@st.composite
def references(draw: st.DrawFn, shape: tuple[int, int]) -> GainReference:
    """Draw references of every arithmetic with arbitrary bits or realistic gains."""
    arithmetic = draw(st.sampled_from(FLOATS))
    if draw(st.booleans()):
        return sane_reference(arithmetic, shape)
    return GainReference(draw(float32s(shape)), arithmetic, None if arithmetic is SINGLE else draw(float32s(shape)))


def far_and_near(form: Counts) -> list[int]:
    return sorted([*form.exceptions.positions.tolist(), *form.exceptions.near.tolist()])


@settings(max_examples=600)
@given(SHAPES.flatmap(lambda shape: st.tuples(float32s(shape), references(shape))), st.sampled_from(COUNT_DTYPES))
def test_any_values_under_any_reference_are_restored(
    both: tuple[NDArray[np.float32], GainReference], dtype: np.dtype[Any]
) -> None:
    values, reference = both
    form = divided(values, reference, dtype)
    assert form.stored.dtype == dtype
    assert (np.diff(form.exceptions.positions) > 0).all()
    assert (np.diff(form.exceptions.near) > 0).all()
    assert form.exceptions.count == len(set(far_and_near(form)))
    assert restored(form, reference).tobytes() == values.tobytes()


@settings(max_examples=300)
@given(
    arrays(np.uint16, SHAPES, elements=st.integers(0, 65535)),
    st.sampled_from(FLOATS),
    st.lists(st.tuples(st.integers(0, 159), ANY_BITS), max_size=5),
    st.sampled_from(COUNT_DTYPES),
    st.integers(0, 2**32 - 1),
)
def test_counts_with_a_few_outliers_are_restored(
    counts: NDArray[np.uint16], arithmetic: Arithmetic, odd: list[tuple[int, int]], dtype: np.dtype[Any], seed: int
) -> None:
    reference = sane_reference(arithmetic, counts.shape, seed)
    values = values_of(counts, reference)
    for position, bits in odd:
        values.reshape(-1).view(np.uint32)[position % values.size] = bits
    form = divided(values, reference, dtype)
    assert restored(form, reference).tobytes() == values.tobytes()
    if counts.max() <= np.iinfo(dtype).max:
        assert set(far_and_near(form)) <= {position % values.size for position, _ in odd}


@pytest.mark.parametrize("arithmetic", FLOATS, ids=lambda arithmetic: arithmetic.name)
@pytest.mark.parametrize("dtype", COUNT_DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_all_counts_that_fit_need_no_exception(dtype: np.dtype[Any], arithmetic: Arithmetic, seed: int) -> None:
    top = np.iinfo(dtype).max
    counts = np.arange(top + 1).reshape(16, -1)
    reference = sane_reference(arithmetic, counts.shape, seed)
    form = divided(values_of(counts, reference), reference, dtype)
    assert np.array_equal(form.stored, counts[::-1]), "page rows are frame rows reversed"
    assert form.exceptions.count == 0
    assert (form.lowest, form.highest) == (0, top)


def test_two_float32_are_precise_enough_for_a_float64_gain() -> None:
    counts = np.arange(65536).reshape(256, 256)
    gain = np.random.default_rng(0).uniform(0.5, 2, counts.shape)
    values = (counts * gain).astype(np.float32)
    form = divided(values, sane_reference(Arithmetic.DOUBLE, counts.shape), np.dtype("u2"))
    assert form.exceptions.count == 0


@pytest.mark.parametrize("arithmetic", [Arithmetic.DOUBLE, Arithmetic.RECIPROCAL], ids=lambda one: one.name)
def test_the_arithmetic_matters(arithmetic: Arithmetic) -> None:
    counts = np.arange(256).reshape(16, 16)
    reference = sane_reference(arithmetic, counts.shape)
    values = values_of(counts, reference)
    single = divided(values, GainReference(reference.gain), np.dtype("u1"))
    assert len(single.exceptions.near) > 10
    assert len(single.exceptions.positions) == 0, "another rounding moves the last bits only"
    assert restored(single, GainReference(reference.gain)).tobytes() == values.tobytes()


@pytest.mark.parametrize("arithmetic", FLOATS, ids=lambda arithmetic: arithmetic.name)
def test_rows_are_divided_and_restored_by_their_part_of_the_reference(arithmetic: Arithmetic) -> None:
    counts = np.arange(120).reshape(12, 10)
    reference = sane_reference(arithmetic, counts.shape)
    values = values_of(counts, reference)
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        form = divide(values[rows], reference, rows, np.dtype("u1"))
        assert form.exceptions.count == 0
        assert np.array_equal(form.stored, counts[rows][::-1])
        assert restored(form, reference, rows).tobytes() == values[rows].tobytes()


def test_values_that_are_not_counts_are_exceptions() -> None:
    gain = np.full((3, 5), 1.1, np.float32)
    values = np.arange(15, dtype=np.float32).reshape(3, 5) * gain
    odd = {1: np.float32(2.4), 7: np.float32(math.nan), 9: np.float32(-0.0), 13: np.float32(-1.1), 14: np.float32(1e9)}
    for position, value in odd.items():
        values.reshape(-1)[position] = value
    form = divided(values, GainReference(gain), np.dtype("u1"))
    assert form.exceptions.positions.tolist() == list(odd)
    assert form.exceptions.originals.tobytes() == np.array(list(odd.values())).tobytes()
    assert len(form.exceptions.near) == 0
    # 2.4 / 1.1 rounds to 2; values without a count are clipped to 0 or to the highest count
    assert form.stored[::-1].reshape(-1).tolist() == [0, 2, 2, 3, 4, 5, 6, 0, 8, 0, 10, 11, 12, 0, 255]


@pytest.mark.parametrize("arithmetic", FLOATS, ids=lambda arithmetic: arithmetic.name)
def test_values_off_by_their_last_bits_are_kept_as_steps(arithmetic: Arithmetic) -> None:
    steps = {3: 1, 4: -1, 10: 127, 11: -127}
    beyond = {5: 128, 12: -128, 17: 5000, 18: -5000}
    reference = sane_reference(arithmetic, (4, 5))
    values = values_of(np.full((4, 5), 100), reference)
    for position, step in (steps | beyond).items():
        values.reshape(-1).view(np.int32)[position] += step
    form = divided(values, reference, np.dtype("u1"))
    assert (form.exceptions.near.tolist(), form.exceptions.steps.tolist()) == (list(steps), list(steps.values()))
    assert form.exceptions.positions.tolist() == list(beyond)
    assert form.exceptions.originals.tolist() == values.view(np.uint32).reshape(-1)[list(beyond)].tolist()
    assert (form.stored == 100).all()
    assert restored(form, reference).tobytes() == values.tobytes()


@pytest.mark.parametrize("value", [-1e-45, -0.0, math.nan])
def test_a_sign_or_a_nan_is_never_near(value: float) -> None:
    reference = GainReference(np.ones((1, 2), np.float32))
    values = np.array([[1e-45, value]], np.float32)
    form = divided(values, reference, np.dtype("u1"))
    assert (form.exceptions.near.tolist(), form.exceptions.positions.tolist()) == ([0], [1])
    assert restored(form, reference).tobytes() == values.tobytes()


@pytest.mark.parametrize("arithmetic", FLOATS, ids=lambda arithmetic: arithmetic.name)
def test_nothing_is_near_a_computed_nan(arithmetic: Arithmetic) -> None:
    nothing = np.full((2, 3), math.nan, np.float32)
    reference = GainReference(nothing, arithmetic, None if arithmetic is SINGLE else nothing)
    values = np.array([[0x7FC00000, 0xFFC00000, 0x7FC00001], [0xFFC00001, 0, 1]], np.uint32).view(np.float32)
    form = divided(values, reference, np.dtype("u1"))
    assert form.exceptions.positions.tolist() == list(range(6))
    assert len(form.exceptions.near) == 0


@pytest.mark.parametrize(("highest", "dtype"), [(3, "u1"), (255, "u1"), (256, "u1"), (65000, "u1"), (65000, "u2")])
@pytest.mark.parametrize("arithmetic", FLOATS, ids=lambda arithmetic: arithmetic.name)
def test_the_highest_count_is_reported_even_if_it_does_not_fit(
    highest: int, dtype: str, arithmetic: Arithmetic
) -> None:
    reference = sane_reference(arithmetic, (6, 50))
    counts = np.minimum(np.random.default_rng(1).poisson(1.4, reference.shape), 2)
    counts[2, 3] = highest
    counts[4, 7] = highest - 1
    form = divided(values_of(counts, reference), reference, np.dtype(dtype))
    assert (form.lowest, form.highest) == (0, highest)


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, 1e9, 300.123, 3000.123, -7.0])
def test_defects_do_not_require_a_wider_type(odd: float) -> None:
    reference = sane_reference(SINGLE, (6, 50))
    values = values_of(np.random.default_rng(1).poisson(1.4, reference.shape), reference)
    values[3, 3] = odd
    form = divided(values, reference, np.dtype("u1"))
    assert form.exceptions.positions.tolist() == [3 * 50 + 3]
    assert narrowest_dtype(form.lowest, form.highest) == np.dtype("u1")


@st.composite
def plain_values(draw: st.DrawFn) -> NDArray[Any]:
    """Draw values of arbitrary bits, some of them small whole numbers."""
    dtype = draw(st.sampled_from(SOURCE_DTYPES))
    shape = draw(SHAPES)
    values = drawn(draw, shape, f"u{dtype.itemsize}").view(dtype)
    whole = drawn(draw, shape, "u2") % 601 - 300.0 if dtype.kind == "f" else drawn(draw, shape, "u2") % 301
    return np.where(drawn(draw, shape, "u1") < 128, whole.astype(dtype), values)


@settings(max_examples=400)
@given(plain_values(), st.sampled_from(STORED_DTYPES), st.integers(1, 40))
def test_any_values_in_any_type_are_restored(values: NDArray[Any], dtype: np.dtype[Any], columns: int) -> None:
    columns = min(columns, values.shape[1])
    form = narrow(values, dtype, columns)
    assert form.stored.dtype == dtype
    assert form.stored.shape == (len(values), columns)
    assert form.stored.flags.c_contiguous
    assert widened(form, values.dtype, values.shape[1]).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", STORED_DTYPES, ids=str)
@pytest.mark.parametrize("source", SOURCE_DTYPES, ids=str)
def test_numbers_that_fit_both_types_need_no_exception(source: np.dtype[Any], dtype: np.dtype[Any]) -> None:
    values = np.arange(128).reshape(8, 16).astype(source)
    form = narrow(values, dtype)
    assert form.exceptions.count == 0
    assert np.array_equal(form.stored, values[::-1])
    assert (form.lowest, form.highest) == (0, 0 if dtype.kind == "f" else 127)


def true_range(values: NDArray[Any]) -> tuple[int, int]:
    """Return the lowest and highest of 0 and the values that fit any count type."""
    exact = [float(value) for value in values.reshape(-1) if math.isfinite(value)]
    counts = [int(value) for value in exact if value.is_integer() and abs(value) <= 65535]
    return min([0, *counts]), max([0, *counts])


@settings(max_examples=300)
@given(plain_values(), st.sampled_from([dtype for dtype in STORED_DTYPES if dtype.kind != "f"]))
def test_the_range_is_reported_for_any_type(values: NDArray[Any], dtype: np.dtype[Any]) -> None:
    form = narrow(values, dtype)
    assert (form.lowest, form.highest) == true_range(values)


def test_exceptions_of_plain_values() -> None:
    values = np.array([[1.4, 2.6, 3], [math.nan, -0.0, 70000]], np.float32)
    form = narrow(values, np.dtype("u1"))
    assert form.exceptions.positions.tolist() == [0, 1, 3, 4, 5]
    assert form.exceptions.originals.tobytes() == values.reshape(-1)[form.exceptions.positions].tobytes()
    assert form.stored.tolist() == [[0, 0, 255], [1, 3, 3]]


def test_columns_that_are_not_stored() -> None:
    values = np.array([[1, 2, 0], [3, 4, 9]], np.uint8)
    form = narrow(values, np.dtype("u1"), 2)
    assert form.stored.tolist() == [[3, 4], [1, 2]]
    assert (form.exceptions.positions.tolist(), form.exceptions.originals.tolist()) == ([5], [9])


@pytest.mark.parametrize(
    ("lowest", "highest", "dtype"),
    [
        (0, 0, "u1"),
        (0, 255, "u1"),
        (0, 256, "u2"),
        (-1, 127, "i1"),
        (-128, 0, "i1"),
        (-129, 0, "i2"),
        (-1, 128, "i2"),
        (0, 65535, "u2"),
        (-1, 32767, "i2"),
        (-1, 32768, "u2"),
        (-40000, 5, "u2"),
        (0, 65536, "u2"),
    ],
)
def test_the_narrowest_type(lowest: int, highest: int, dtype: str) -> None:
    assert narrowest_dtype(lowest, highest) == np.dtype(dtype)
