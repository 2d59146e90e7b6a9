"""Values to counts and back: the very bits, whatever the values and whatever the gain."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cryofs.detector.counts import Counts, divide, narrow, narrowest_dtype
from cryofs.detector.values import multiply, put_back, widen

# zeros, denormals, one, infinities, quiet and signalling NaN with payloads, and their negatives
SPECIAL = [0, 1, 0x7FFFFF, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7FA00001, 0x7FFFFFFF]
ANY_BITS = st.sampled_from([*SPECIAL, *(bits | 1 << 31 for bits in SPECIAL)]) | st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 40))
COUNT_DTYPES = [np.dtype(name) for name in ("u1", "u2")]
STORED_DTYPES = [np.dtype(name) for name in ("u1", "i1", "u2", "i2", "f4")]
SOURCE_DTYPES = [np.dtype(name) for name in ("f4", "f2", "i1", "i2", "u1", "u2")]


def float32s(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.float32]]:
    """Arrays of any float32 bits."""
    return arrays(np.uint32, shape, elements=ANY_BITS, fill=st.nothing()).map(lambda bits: bits.view(np.float32))


def sane_gain(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0.5, 2, shape).astype(np.float32)


def multiplied(form: Counts, gain: NDArray[np.float32]) -> NDArray[np.float32]:
    values = np.empty(gain.shape, np.float32)
    multiply(form.stored, gain, values)
    put_back(values, form.positions, form.originals)
    return values


def widened(form: Counts, dtype: np.dtype[Any], columns: int) -> NDArray[Any]:
    """Values of the whole rows, the columns that are not stored zero but for the exceptions."""
    values = np.zeros((len(form.stored), columns), dtype)
    values[:, : form.stored.shape[1]] = widen(form.stored, dtype)
    put_back(values, form.positions, form.originals)
    return values


@settings(max_examples=400)
@given(SHAPES.flatmap(lambda shape: st.tuples(float32s(shape), float32s(shape))), st.sampled_from(COUNT_DTYPES))
def test_any_values_under_any_gain_come_back(
    both: tuple[NDArray[np.float32], NDArray[np.float32]], dtype: np.dtype[Any]
) -> None:
    values, gain = both
    form = divide(values, gain, dtype)
    assert form.stored.dtype == dtype
    assert (np.diff(form.positions) > 0).all()
    assert multiplied(form, gain).tobytes() == values.tobytes()


@settings(max_examples=200)
@given(
    arrays(np.uint16, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=st.integers(0, 65535)),
    st.floats(0.25, 4, width=32),
    st.lists(st.tuples(st.integers(0, 159), ANY_BITS), max_size=5),
    st.sampled_from(COUNT_DTYPES),
)
def test_counts_with_a_few_odd_values_come_back(
    counts: NDArray[np.uint16], step: float, odd: list[tuple[int, int]], dtype: np.dtype[Any]
) -> None:
    gain = sane_gain(counts.shape) * np.float32(step)
    values = counts.astype(np.float32) * gain
    for position, bits in odd:
        values.reshape(-1).view(np.uint32)[position % values.size] = bits
    assert multiplied(divide(values, gain, dtype), gain).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", COUNT_DTYPES, ids=str)
def test_all_counts_that_fit_need_no_exception(dtype: np.dtype[Any]) -> None:
    top = np.iinfo(dtype).max
    counts = np.arange(top + 1).reshape(16, -1)
    gain = sane_gain(counts.shape)
    form = divide(counts.astype(np.float32) * gain, gain, dtype)
    assert np.array_equal(form.stored, counts[::-1]), "page rows are frame rows reversed"
    assert len(form.positions) == 0
    assert (form.lowest, form.highest) == (0, top)


def test_exceptions_are_where_values_are_no_counts() -> None:
    gain = np.full((3, 5), 1.1, np.float32)
    values = np.arange(15, dtype=np.float32).reshape(3, 5) * gain
    odd = {1: np.float32(2.4), 7: np.float32(math.nan), 9: np.float32(-0.0), 13: np.float32(-1.1), 14: np.float32(1e9)}
    for position, value in odd.items():
        values.reshape(-1)[position] = value
    form = divide(values, gain, np.dtype("u1"))
    assert form.positions.tolist() == list(odd)
    assert form.originals.tobytes() == np.array(list(odd.values())).tobytes()
    # 2.4 / 1.1 rounds to 2; what has no count is nearest to 0 or to the highest
    assert form.stored[::-1].reshape(-1).tolist() == [0, 2, 2, 3, 4, 5, 6, 0, 8, 0, 10, 11, 12, 0, 255]


@pytest.mark.parametrize(("highest", "dtype"), [(3, "u1"), (255, "u1"), (256, "u1"), (65000, "u1"), (65000, "u2")])
def test_the_highest_count_is_told_even_where_it_does_not_fit(highest: int, dtype: str) -> None:
    gain = sane_gain((6, 50))
    counts = np.minimum(np.random.default_rng(1).poisson(1.4, gain.shape), 2)
    counts[2, 3] = highest
    counts[4, 7] = highest - 1
    form = divide(counts.astype(np.float32) * gain, gain, np.dtype(dtype))
    assert (form.lowest, form.highest) == (0, highest)


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, 1e9, 300.123, -7.0])
def test_defects_do_not_ask_for_a_wider_type(odd: float) -> None:
    gain = sane_gain((6, 50))
    values = np.random.default_rng(1).poisson(1.4, gain.shape).astype(np.float32) * gain
    values[3, 3] = odd
    form = divide(values, gain, np.dtype("u1"))
    assert form.positions.tolist() == [3 * 50 + 3]
    assert narrowest_dtype(form.lowest, form.highest) == np.dtype("u1")


@st.composite
def plain_values(draw: st.DrawFn) -> NDArray[Any]:
    """Values of any bits, small whole numbers among them."""
    dtype = draw(st.sampled_from(SOURCE_DTYPES))
    bits = np.dtype(f"u{dtype.itemsize}")
    whole = st.integers(-300 if dtype.kind == "f" else 0, 300).map(
        lambda value: int(np.array(value).astype(dtype).view(bits))
    )
    elements = st.integers(0, np.iinfo(bits).max) | whole
    return draw(arrays(bits, SHAPES, elements=elements, fill=st.nothing())).view(dtype)


@settings(max_examples=400)
@given(plain_values(), st.sampled_from(STORED_DTYPES), st.integers(1, 40))
def test_any_values_in_any_type_come_back(values: NDArray[Any], dtype: np.dtype[Any], columns: int) -> None:
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
    assert len(form.positions) == 0
    assert np.array_equal(form.stored, values[::-1])
    assert (form.lowest, form.highest) == (0, 0 if dtype.kind == "f" else 127)


def true_range(values: NDArray[Any]) -> tuple[int, int]:
    """Lowest and highest of 0 and the values that some count type could hold."""
    exact = [float(value) for value in values.reshape(-1) if math.isfinite(value)]
    counts = [int(value) for value in exact if value.is_integer() and abs(value) <= 65535]
    return min([0, *counts]), max([0, *counts])


@settings(max_examples=300)
@given(plain_values(), st.sampled_from([dtype for dtype in STORED_DTYPES if dtype.kind != "f"]))
def test_the_range_is_told_whatever_the_type(values: NDArray[Any], dtype: np.dtype[Any]) -> None:
    form = narrow(values, dtype)
    assert (form.lowest, form.highest) == true_range(values)


def test_exceptions_of_plain_values() -> None:
    values = np.array([[1.4, 2.6, 3], [math.nan, -0.0, 70000]], np.float32)
    form = narrow(values, np.dtype("u1"))
    assert form.positions.tolist() == [0, 1, 3, 4, 5]
    assert form.originals.tobytes() == values.reshape(-1)[form.positions].tobytes()
    assert form.stored.tolist() == [[0, 0, 255], [1, 3, 3]]


def test_columns_that_are_not_stored() -> None:
    values = np.array([[1, 2, 0], [3, 4, 9]], np.uint8)
    form = narrow(values, np.dtype("u1"), 2)
    assert form.stored.tolist() == [[3, 4], [1, 2]]
    assert (form.positions.tolist(), form.originals.tolist()) == ([5], [9])


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


def test_exceptions_beyond_the_frame_are_refused() -> None:
    with pytest.raises(IndexError):
        put_back(np.zeros((2, 3), np.float32), np.array([6]), np.array([1], np.uint32))
