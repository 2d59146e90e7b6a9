"""Checksums of pieces and of files equal those computed plainly."""

import hashlib
import os

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from cryofs.storage import checksums
from tests.conftest import open_bytes

CHUNK = 4 << 20


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_files_about_the_chunk_size(size: int) -> None:
    data = os.urandom(size)
    with open_bytes(data) as source:
        assert checksums.file_sha256(source) == hashlib.sha256(data).hexdigest()


def test_a_file_is_summed_from_its_start_wherever_it_stands() -> None:
    with open_bytes(b"some bytes") as source:
        os.lseek(source.descriptor, 5, os.SEEK_SET)
        assert checksums.file_sha256(source) == hashlib.sha256(b"some bytes").hexdigest()
        assert os.lseek(source.descriptor, 0, os.SEEK_CUR) == 5


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_division(pieces: list[bytes]) -> None:
    running = checksums.RunningChecksum()
    for piece in pieces:
        running.add(np.frombuffer(piece, np.uint8))
    assert running.result() == checksums.xxh3_checksum(b"".join(pieces))


def test_pieces_of_values_are_summed_as_their_bytes() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    running = checksums.RunningChecksum()
    for row in values:
        running.add(row)
    assert running.result() == checksums.xxh3_checksum(values)


@given(st.binary(max_size=64))
def test_checksums_of_bytes_and_arrays_are_equal(data: bytes) -> None:
    expected = xxhash.xxh3_128(data).hexdigest()
    assert checksums.xxh3_checksum(data) == expected
    assert checksums.xxh3_checksum(np.frombuffer(data, np.uint8)) == expected


def test_checksums_of_values_and_their_bytes_are_equal() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert checksums.xxh3_checksum(values) == checksums.xxh3_checksum(values.tobytes())
