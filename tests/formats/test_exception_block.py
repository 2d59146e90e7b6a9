"""Byte format of exceptions: positions, bits and steps are restored; bytes of a wrong length are rejected."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import exception_block

DTYPES = [np.dtype(name) for name in ("u1", "u2", "u4")]
POSITIONS = st.sets(st.one_of(st.integers(0, 50), st.integers(0, 2**32 - 1)))
Given = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


@st.composite
def exceptions_of_a_frame(draw: st.DrawFn) -> Given:
    dtype = draw(st.sampled_from(DTYPES))
    far, near = sorted(draw(POSITIONS)), sorted(draw(POSITIONS))
    originals = draw(st.lists(st.integers(0, np.iinfo(dtype).max), min_size=len(far), max_size=len(far)))
    steps = draw(st.lists(st.integers(-128, 127), min_size=len(near), max_size=len(near)))
    return np.array(far, np.int64), np.array(originals, dtype), np.array(near, np.int64), np.array(steps, np.int8)


@given(exceptions_of_a_frame())
def test_round_trip(given_ones: Given) -> None:
    positions, originals, near, _ = given_ones
    found: Given = exception_block.unpack(exception_block.pack(*given_ones), len(positions), len(near), originals.dtype)
    for one, other in zip(found, given_ones, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_layout() -> None:
    packed = exception_block.pack(
        np.array([2, 0x105]),
        np.array([0x1234, 0xABCD], np.uint16),
        np.array([1, 0x10203, 0x10204]),
        np.array([1, -1, 127], np.int8),
    )
    far = bytes([2, 3, 0, 1, 0, 0, 0, 0]) + bytes([0x34, 0xCD, 0x12, 0xAB])
    near = bytes([1, 2, 1, 0, 2, 0, 0, 1, 0, 0, 0, 0]) + bytes([1, 255, 127])
    assert packed == far + near


@given(exceptions_of_a_frame(), st.integers(-9, 9).filter(bool))
def test_other_lengths_are_damaged(given_ones: Given, more: int) -> None:
    positions, originals, near, _ = given_ones
    packed = exception_block.pack(*given_ones)
    wrong = packed + bytes(more) if more > 0 else packed[:more]
    if wrong != packed:
        with pytest.raises(DamagedError):
            exception_block.unpack(wrong, len(positions), len(near), originals.dtype)


@pytest.mark.parametrize(("far", "near"), [(0, 2), (2, 2), (4, 2), (3, 0), (3, 1), (3, 3), (0, 0), (2, 3)])
def test_other_counts_are_damaged(far: int, near: int) -> None:
    given_ones = (np.array([1, 5, 9]), np.array([1, 2, 3], np.uint32), np.array([2, 3]), np.array([1, -1], np.int8))
    with pytest.raises(DamagedError):
        exception_block.unpack(exception_block.pack(*given_ones), far, near, np.dtype("u4"))
