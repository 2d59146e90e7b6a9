"""Exceptions of rows, far and near: joining, selecting and restoring them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.kernels.from_counts import Arithmetic, ExceptionValues, GainReference, array_in
from cryofs.kernels.multiply import multiply

WIDTH = 7
FLOATS = [one for one in Arithmetic if not one.is_integer]
BITS = [np.dtype(name) for name in ("u1", "u2", "u4")]
Changes = tuple[NDArray[Any], NDArray[Any], ExceptionValues]


@st.composite
def changes(draw: st.DrawFn, size: int) -> Changes:
    """Draw restored bits, original bits, and the exceptions that convert the former to the latter."""
    dtype = draw(st.sampled_from(BITS))
    top = np.iinfo(dtype).max
    restored = np.array(draw(st.lists(st.integers(0, top), min_size=size, max_size=size)), dtype)
    kinds = draw(st.lists(st.sampled_from(["same", "far", "near"]), min_size=size, max_size=size))
    wanted = restored.copy()
    far = [place for place, kind in enumerate(kinds) if kind == "far"]
    near = [place for place, kind in enumerate(kinds) if kind == "near"]
    wanted[far] = draw(st.lists(st.integers(0, top), min_size=len(far), max_size=len(far)))
    steps = draw(st.lists(st.integers(-127, 127), min_size=len(near), max_size=len(near)))
    for place, step in zip(near, steps, strict=True):
        wanted[place] = (int(restored[place]) + step) % (top + 1)
    found = ExceptionValues(np.array(far, np.int64), wanted[far], np.array(near, np.int64), np.array(steps, np.int8))
    return restored, wanted, found


def sizes() -> st.SearchStrategy[int]:
    return st.integers(1, 6).map(lambda rows: rows * WIDTH)


def as_rows(bits: NDArray[Any]) -> NDArray[Any]:
    return bits.reshape(-1, WIDTH).copy()


@given(sizes().flatmap(changes))
def test_exceptions_are_restored(given_ones: Changes) -> None:
    restored, wanted, exceptions = given_ones
    values = as_rows(restored)
    exceptions.put_back(values)
    assert values.tobytes() == wanted.tobytes()
    assert exceptions.count == len(exceptions.positions) + len(exceptions.steps)


@given(sizes().flatmap(changes), st.data())
def test_exceptions_of_selected_rows_are_restored(given_ones: Changes, data: st.DataObject) -> None:
    restored, wanted, exceptions = given_ones
    rows = len(restored) // WIDTH
    first = data.draw(st.integers(0, rows)) * WIDTH
    end = data.draw(st.integers(first // WIDTH, rows)) * WIDTH
    values = as_rows(restored[first:end])
    exceptions.within(first, end).put_back(values)
    assert values.tobytes() == wanted[first:end].tobytes()


@given(sizes().flatmap(changes), st.sets(st.integers(0, 6)))
def test_joined_parts_equal_the_whole(given_ones: Changes, cuts: set[int]) -> None:
    restored, _, exceptions = given_ones
    ends = sorted({min(cut * WIDTH, len(restored)) for cut in cuts} | {len(restored)})
    starts = [0, *ends[:-1]]
    parts = [(start, exceptions.within(start, end)) for start, end in zip(starts, ends, strict=True)]
    assert sum(part.count for _, part in parts) == exceptions.count
    joined = ExceptionValues.joined(parts)
    assert joined.originals.dtype == exceptions.originals.dtype
    assert joined.steps.dtype == np.int8
    for found, expected in zip(fields(joined), fields(exceptions), strict=True):
        assert found == expected


def fields(exceptions: ExceptionValues) -> list[list[int]]:
    return [
        exceptions.positions.tolist(),
        exceptions.originals.tolist(),
        exceptions.near.tolist(),
        exceptions.steps.tolist(),
    ]


def test_positions_are_relative_to_the_first_selected_value() -> None:
    whole = ExceptionValues(
        np.array([2, 9, 10]), np.array([1, 2, 3], np.uint32), np.array([3, 9]), np.array([5, -5], "i1")
    )
    assert fields(whole.within(9, 10)) == [[0], [2], [0], [-5]]
    assert fields(whole.within(4, 9)) == [[], [], [], []]
    assert fields(ExceptionValues.joined([(0, whole), (20, whole.within(9, 11))])) == [
        [2, 9, 10, 20, 21],
        [1, 2, 3, 2, 3],
        [3, 9, 20],
        [5, -5, -5],
    ]


def test_far_exceptions_only() -> None:
    exceptions = ExceptionValues.far(np.array([1, 4]), np.array([0x3F800000, 0x7FC00001], np.uint32))
    values = np.zeros((2, 3), np.float32)
    exceptions.put_back(values)
    assert values.view(np.uint32).tolist() == [[0, 0x3F800000, 0], [0, 0x7FC00001, 0]]
    assert exceptions.count == 2


@pytest.mark.parametrize(("far", "near"), [([6], []), ([], [6]), ([5, 6], [1]), ([1], [5, 60])])
def test_exceptions_beyond_the_frame_raise_an_error(far: list[int], near: list[int]) -> None:
    exceptions = ExceptionValues(
        np.array(far, np.int64), np.ones(len(far), np.uint32), np.array(near, np.int64), np.ones(len(near), np.int8)
    )
    with pytest.raises(IndexError):
        exceptions.put_back(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_every_arithmetic_restores_as_documented(dtype: str) -> None:
    rng = np.random.default_rng(0)
    gain, detail = (rng.uniform(0.5, 2, (6, 5)).astype(np.float32) for _ in range(2))
    tiny = detail * np.float32(1e-8)
    counts = rng.integers(0, 128, (6, 5)).astype(dtype)
    rows = slice(2, 5)
    expected = {
        GainReference(gain): counts.astype(np.float32) * gain,
        GainReference(gain, Arithmetic.DOUBLE, tiny): counts * (gain.astype(np.float64) + tiny),
        GainReference(gain, Arithmetic.RECIPROCAL, detail): counts.astype(np.float32) / detail,
    }
    for reference, values in expected.items():
        found = np.empty((3, 5), np.float32)
        reference.restore(counts[rows][::-1], rows, found)
        assert found.tobytes() == values.astype(np.float32)[rows].tobytes(), reference.arithmetic


@pytest.mark.parametrize("arithmetic", FLOATS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4"])
def test_a_part_of_rows_is_restored_as_the_rows_are(
    monkeypatch: pytest.MonkeyPatch, dtype: str, arithmetic: Arithmetic
) -> None:
    rng = np.random.default_rng(0)
    gain, detail = (rng.uniform(0.5, 2, (9, 7)).astype(np.float32) for _ in range(2))
    gain[4, 2:5] = np.nan, np.inf, -0.0
    reference = GainReference(gain, arithmetic, None if arithmetic is Arithmetic.SINGLE else detail)
    stored = rng.integers(0, 100, (6, 7)).astype(dtype)
    whole = np.empty((6, 7), np.float32)
    reference.restore(stored, slice(2, 8), whole)
    for compiled in (None, multiply):
        monkeypatch.setattr("cryofs.kernels.from_counts._multiply", compiled)
        for first in range(42):
            for end in range(first, 43):
                memory = np.zeros(4 * 50 + 1, np.uint8)
                # replies may begin at any byte
                values = memory[first % 2 :][: 4 * (end - first)].view(np.float32)
                reference.restore_part(stored, 2, first, values)
                assert values.tobytes() == whole.tobytes()[4 * first : 4 * end]
                assert not memory[first % 2 + 4 * (end - first) :].any(), "nothing beside them is written"


@pytest.mark.parametrize("memory", [np.zeros((4, 3), "i2"), np.zeros((8, 3), "i1"), np.zeros(6, "f4")])
def test_an_array_uses_memory_of_any_shape(memory: NDArray[Any]) -> None:
    made = array_in(memory, (2, 3), np.dtype("f4"))
    made[:] = 1.5
    assert made.shape == (2, 3)
    assert memory.tobytes() == made.tobytes(), "the array uses the given memory"
    assert array_in(memory, (3,), np.dtype("u1")).tobytes() == memory.tobytes()[:3]


class SlowDetail(np.ndarray[Any, Any]):
    """An array whose addition blocks until it is released."""

    released, requested = threading.Event(), threading.Event()

    def __radd__(self, other: NDArray[Any]) -> Any:  # type: ignore[override]
        self.requested.set()
        assert self.released.wait(20)
        return np.add(other, np.asarray(self))

    __array_ufunc__ = None  # type: ignore[assignment]


def test_references_do_not_block_each_other() -> None:
    """Restore rows of one reference while the gain of another is being computed; all rows get the same gain."""
    gain, counts = np.full((4, 4), 1.5, np.float32), np.full((2, 4), 3, np.uint8)
    slow = GainReference(gain, Arithmetic.DOUBLE, np.zeros((4, 4), np.float32).view(SlowDetail))
    other = GainReference(gain, Arithmetic.DOUBLE, np.zeros((4, 4), np.float32))

    def restored(reference: GainReference) -> NDArray[np.float32]:
        values = np.empty((2, 4), np.float32)
        reference.restore(counts, slice(2, 4), values)
        return values

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(restored, slow) for _ in range(2)]
        try:
            assert SlowDetail.requested.wait(20)
            assert (pool.submit(restored, other).result(10) == 4.5).all()
            assert not any(one.done() for one in waiting)
        finally:
            SlowDetail.released.set()
        assert all((one.result() == 4.5).all() for one in waiting)
