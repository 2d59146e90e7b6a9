"""Requests that must be answered in time, while frames are read and decoded for others."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cryofs.cache.frame_cache import FrameCache
from cryofs.errors import StuckError
from cryofs.system import deadlines
from tests.cache.frames import SECONDS, Decoder, Gate, get, never, prefetch

SOON = 0.1


def test_no_request_waits_longer_for_a_frame_that_another_one_decodes(decoder: Decoder) -> None:
    store, gate = FrameCache(100), Gate()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(get, store, 1, 10, gate)
        assert gate.begun.wait(SECONDS)
        with deadlines.within(SOON), pytest.raises(StuckError, match=r"movie: frame 0 was not decoded in the time"):
            get(store, 1, 10, never)
        gate.open.set()
        assert other.result(SECONDS).tolist() == [0] * 10
    assert get(store, 1, 10, never).tolist() == [0] * 10


def test_no_request_waits_longer_for_its_turn(decoder: Decoder) -> None:
    store, gates = FrameCache(100), [Gate(), Gate()]
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(get, store, key, 10, gate) for key, gate in enumerate(gates)]
        assert all(gate.begun.wait(SECONDS) for gate in gates)
        with deadlines.within(SOON), pytest.raises(StuckError, match="because other frames are being decoded"):
            get(store, 7, 10, never)
        # the next in the queue is not held up by the one that left it
        later = partial(decoder.get, store, 7)
        with ThreadPoolExecutor(1) as second:
            waiting = second.submit(later)
            for gate in gates:
                gate.open.set()
            assert waiting.result(SECONDS).tolist() == [7] * 10
        assert [other.result(SECONDS).tolist() for other in others] == [[0] * 10] * 2
    assert store.figures().failures == 1


def test_a_reader_that_takes_over_a_prefetch_reads_its_own_movie(
    decoder: Decoder, background: ThreadPoolExecutor
) -> None:
    """The movie for which it was to be read ahead may be closed by then."""
    store, gate = FrameCache(100, background), Gate()
    assert prefetch(store, 1, 10, gate) is not None
    assert gate.begun.wait(SECONDS)
    coming = prefetch(store, 2, 10, never)
    assert coming is not None
    assert decoder.get(store, 2).tolist() == [2] * 10
    assert coming.cancelled()
    gate.open.set()
