"""Deadlines of requests."""

import threading

import pytest

from cryofs.system import deadlines


def test_the_earliest_deadline_counts_and_ends_with_its_block() -> None:
    assert deadlines.seconds_left() is None
    with deadlines.within(1000):
        with deadlines.within(10):
            left = deadlines.seconds_left()
            assert left is not None
            assert 0 < left <= 10
            with deadlines.within(500):
                assert (deadlines.seconds_left() or 1000) <= 10
        assert (deadlines.seconds_left() or 0) > 10
        with deadlines.within(-1):
            assert deadlines.seconds_left() == 0
    assert deadlines.seconds_left() is None


def test_each_thread_has_its_own() -> None:
    found: list[float | None] = []
    with deadlines.within(10):
        thread = threading.Thread(target=lambda: found.append(deadlines.seconds_left()))
        thread.start()
        thread.join()
    assert found == [None]


def test_an_error_ends_the_block_too() -> None:
    with pytest.raises(ValueError, match="x"), deadlines.within(10):
        raise ValueError("x")
    assert deadlines.seconds_left() is None
