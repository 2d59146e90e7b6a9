"""Memory of dropped frames: used again, unless a reader still has a view of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.cache import frame_cache
from cryofs.cache.frame_cache import Frame, FrameCache
from tests.cache.frames import Decode, fail_to_decode, get, served


def counting_decode(given: list[int | None], key: int) -> Decode:
    """A decode that uses the memory it is given, and notes its address."""

    def decode(memory: Frame | None) -> Frame:
        given.append(None if memory is None else memory.ctypes.data)
        frame = np.empty(100, np.uint8) if memory is None else memory.reshape(-1).view(np.uint8)
        frame[:] = key
        return frame

    return decode


def test_memory_of_dropped_frames_is_used_again() -> None:
    store = FrameCache(300)
    given: list[int | None] = []
    for key in range(10):
        get(store, key, 100, counting_decode(given, key))
    assert given[:3] == [None] * 3
    assert len({address for address in given[3:] if address is not None}) == 3
    assert None not in given[3:]
    for key in (7, 8, 9):
        assert get(store, key, 100, fail_to_decode).tolist() == [key] * 100


def test_served_frames_make_room_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_cache, "_MOST_SERVED", 200)
    store = FrameCache(1 << 20)
    given: list[int | None] = []
    for key in range(10):
        get(store, key, 100, counting_decode(given, key))
        served(store, key)
    # far below the budget, the memory of a few frames is used in turn
    assert store.figures().cached_bytes == 300
    assert given[:3] == [None] * 3
    assert None not in given[3:]


def test_memory_that_a_reader_holds_is_left_alone() -> None:
    store = FrameCache(300)
    given: list[int | None] = []
    # views of frames as readers have them: a piece, a buffer of a piece, a view of a view
    held = []
    for key in range(12):
        frame = get(store, key, 100, counting_decode(given, key))
        held.append((key, [frame[10:20], frame[30:40].data, frame.reshape(10, 10)[2:4].reshape(-1)][key % 3]))
        del frame
    assert given == [None] * 12
    assert all(np.all(np.asarray(piece) == key) for key, piece in held)
    del held
    for key in range(12, 16):
        get(store, key, 100, counting_decode(given, key))
    assert given[-1] is not None


def test_memory_of_another_size_is_not_used() -> None:
    store = FrameCache(300)
    given: list[int | None] = []
    for key in range(3):
        get(store, key, 100, counting_decode(given, key))
    get(store, 3, 150, lambda memory: np.zeros(150, np.uint8) if memory is None else pytest.fail("of another size"))
    assert store.figures().cached_bytes == 250


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=80), st.integers(1, 4))
def test_frames_are_right_while_readers_hold_others(requests: list[tuple[int, bool]], room: int) -> None:
    store = FrameCache(room * 100)
    held: list[tuple[int, Frame]] = []
    for key, hold in requests:
        frame = get(store, key, 100, counting_decode([], key))
        assert np.all(frame == key)
        served(store, key)
        if hold:
            held.append((key, frame[::7]))
    assert all(np.all(piece == key) for key, piece in held)
