"""Exceptions as bytes: positions and bits come back, and bytes of another length are no exceptions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.formats import exceptions

DTYPES = [np.dtype(name) for name in ("u1", "u2", "u4")]


@st.composite
def exceptions_of_a_frame(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[Any]]:
    dtype = draw(st.sampled_from(DTYPES))
    positions = sorted(draw(st.sets(st.one_of(st.integers(0, 50), st.integers(0, 2**32 - 1)))))
    bits = st.integers(0, np.iinfo(dtype).max)
    originals = draw(st.lists(bits, min_size=len(positions), max_size=len(positions)))
    return np.array(positions, np.int64), np.array(originals, dtype)


@given(exceptions_of_a_frame())
def test_round_trip(given_ones: tuple[NDArray[np.int64], NDArray[Any]]) -> None:
    positions, originals = given_ones
    found = exceptions.unpack(exceptions.pack(positions, originals), len(positions), originals.dtype)
    for one, other in zip(found, given_ones, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_layout() -> None:
    packed = exceptions.pack(np.array([2, 0x105]), np.array([0x1234, 0xABCD], np.uint16))
    assert packed == bytes([2, 3, 0, 1, 0, 0, 0, 0]) + bytes([0x34, 0xCD, 0x12, 0xAB])


@given(exceptions_of_a_frame(), st.integers(-9, 9).filter(bool))
def test_other_lengths_are_damaged(given_ones: tuple[NDArray[np.int64], NDArray[Any]], more: int) -> None:
    positions, originals = given_ones
    packed = exceptions.pack(positions, originals)
    wrong = packed + bytes(more) if more > 0 else packed[:more]
    if wrong != packed:
        with pytest.raises(DamagedError):
            exceptions.unpack(wrong, len(positions), originals.dtype)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_other_counts_are_damaged(count: int) -> None:
    packed = exceptions.pack(np.array([1, 5, 9]), np.array([1, 2, 3], np.uint32))
    with pytest.raises(DamagedError):
        exceptions.unpack(packed, count, np.dtype("u4"))
