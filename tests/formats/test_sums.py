"""Checksums of a file in one pass equal those computed plainly."""

import hashlib
import itertools
import os

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from cryofs.formats import sums
from tests.conftest import open_bytes


def plain_sums(data: bytes, start: int, piece_bytes: int, pieces: int) -> tuple[str, list[str]]:
    cuts = [start + number * piece_bytes for number in range(pieces + 1)]
    parts = [data[begin:end] for begin, end in itertools.pairwise(cuts)]
    return hashlib.sha256(data).hexdigest(), [xxhash.xxh3_128(part).hexdigest() for part in parts]


def check(data: bytes, start: int, piece_bytes: int, pieces: int) -> None:
    with open_bytes(data) as descriptor:
        assert sums.file_sums(descriptor, start, piece_bytes, pieces) == plain_sums(data, start, piece_bytes, pieces)
        assert sums.file_sha256(descriptor) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("piece_bytes", [sums.CHUNK - 1, sums.CHUNK, sums.CHUNK + 1, 3 * sums.CHUNK // 2])
def test_pieces_about_the_chunk_size(piece_bytes: int) -> None:
    check(os.urandom(1024 + 3 * piece_bytes + 77), 1024, piece_bytes, 3)


def test_trailing_bytes_of_several_chunks() -> None:
    check(os.urandom(2 * sums.CHUNK + 5), 3, 10, 2)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 5), st.integers(0, 40))
def test_any_division(start: int, piece_bytes: int, pieces: int, trailing: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "CHUNK", 16)
        check(os.urandom(start + pieces * piece_bytes + trailing), start, piece_bytes, pieces)


@given(st.binary(max_size=64))
def test_quick_sum_of_bytes_and_of_arrays(data: bytes) -> None:
    expected = xxhash.xxh3_128(data).hexdigest()
    assert sums.quick_sum(data) == expected
    assert sums.quick_sum(np.frombuffer(data, np.uint8)) == expected


def test_quick_sum_of_values_is_that_of_their_bytes() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert sums.quick_sum(values) == sums.quick_sum(values.tobytes())
