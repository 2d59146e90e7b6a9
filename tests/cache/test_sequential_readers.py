"""Readers in order are counted while they read, by the frames that they need."""

import time

import pytest

from cryofs.cache.sequential_readers import Readers


@pytest.fixture(name="now")
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_there_is_room_for_two_frames_of_each(now: list[float]) -> None:
    found = Readers(100)
    assert not found.go_on("a", 20)
    assert not found.go_on("b", 30)
    assert not found.go_on("a", 20)
    assert found.go_on("c", 1)
    assert found.go_on("a", 20)
    found.leave("b")
    found.leave("b")
    assert not found.go_on("a", 20)


def test_one_reader_is_never_too_many(now: list[float]) -> None:
    found = Readers(100)
    assert not found.go_on("a", 1000)
    assert found.go_on("b", 1)


def test_readers_that_stopped_do_not_count(now: list[float]) -> None:
    found = Readers(100)
    for number in range(50):
        found.go_on(number, 30)
    assert found.go_on(49, 30)
    now[0] += 1.5
    assert found.go_on(48, 30)
    now[0] += 1.0
    assert found.go_on(49, 30)  # 48 has read lately
    now[0] += 1.5
    assert not found.go_on(49, 30)
