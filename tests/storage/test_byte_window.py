"""A part of a file in memory: the same bytes as from the file, wherever they are read."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.storage.byte_window import ByteWindow, window_over
from tests import faults
from tests.conftest import open_bytes

CONTENT = bytes(range(256)) * 1000
SIZE = len(CONTENT)
PLACES = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 5000)), max_size=9)


@given(PLACES, PLACES)
def test_reads_are_those_of_the_source(window: list[tuple[int, int]], reads: list[tuple[int, int]]) -> None:
    with open_bytes(CONTENT) as source:
        found = window_over(source, window)
        assert (found.name, found.size, found.identity) == (source.name, source.size, source.identity)
        for offset, size in window + reads:
            assert found.read(size, offset) == CONTENT[offset : offset + size]
            memory = memoryview(bytearray(size))
            assert found.read_into(memory, offset) == len(CONTENT[offset : offset + size])


def test_places_that_lie_together_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(offset, 100) for offset in range(5000, 30000, 250)]
    with open_bytes(CONTENT) as source:
        reads = faults.inject(monkeypatch, faults.none)
        window = window_over(source, places)
        assert isinstance(window, ByteWindow)
        for offset, size in places:
            assert window.read(size, offset) == CONTENT[offset : offset + size]
        assert reads.reads == 1


@pytest.mark.parametrize("places", [[], [(0, 9), (SIZE - 9, 9)], [(SIZE - 9, 10)], [(0, 1 << 62)], [(1 << 62, 9)]])
def test_places_far_apart_and_beyond_the_end_are_not_read(
    places: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bytes(CONTENT) as source:
        reads = faults.inject(monkeypatch, faults.none)
        assert window_over(source, places) is source
        assert reads.reads == 0


def test_what_cannot_be_read_at_once_is_left_to_single_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bytes(CONTENT) as source:
        faults.inject(monkeypatch, faults.error_at(0, errno.EIO))
        assert window_over(source, [(0, 9), (9, 9)]) is source


def test_a_truncated_file_is_read_as_far_as_it_goes() -> None:
    with open_bytes(CONTENT) as source:
        source.size += 100
        window = window_over(source, [(SIZE - 50, 100)])
        assert window.read(50, SIZE - 50) == CONTENT[-50:]
        assert window.read(100, SIZE - 50) == CONTENT[-50:]


def test_closing_a_window_leaves_the_source_open() -> None:
    with open_bytes(CONTENT) as source:
        window = window_over(source, [(0, 100)])
        window.close()
        assert source.read(5, 0) == CONTENT[:5]
        assert window.is_unchanged() == source.is_unchanged()
