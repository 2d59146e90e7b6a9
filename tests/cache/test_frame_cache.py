"""The frame cache: one decode for all readers, memory within its budget, errors only for those who wait."""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.cache.frame_cache import Frame, FrameCache
from tests.cache.frames import SECONDS, Decoder, Gate, fail_to_decode, get, never, prefetch, served


def ask_at_once(count: int, ask: Callable[[], Frame]) -> list[Future[Frame]]:
    """What `count` threads get that ask together."""
    barrier = threading.Barrier(count)

    def run() -> Frame:
        barrier.wait(SECONDS)
        return ask()

    with ThreadPoolExecutor(count) as pool:
        return [pool.submit(run) for _ in range(count)]


def test_one_decode_for_all_concurrent_readers(decoder: Decoder) -> None:
    store = FrameCache(1000)
    found = [future.result() for future in ask_at_once(8, lambda: decoder.get(store, 7, pause=0.1))]
    assert decoder.calls == [7]
    assert all(frame is found[0] for frame in found)
    assert found[0].tolist() == [7] * 10
    figures = store.figures()
    assert (figures.decodes, figures.hits, figures.failures) == (1, 7, 0)


def test_one_decode_for_all_readers_of_a_frame_larger_than_the_budget(decoder: Decoder) -> None:
    store = FrameCache(5)
    gate = Gate()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, store, 1, 10, gate)
        assert gate.begun.wait(SECONDS)
        second = pool.submit(get, store, 1, 10, never)
        time.sleep(0.1)
        gate.open.set()
        assert first.result(SECONDS) is second.result(SECONDS)


def test_every_waiter_gets_the_error_and_the_next_decodes_again(decoder: Decoder) -> None:
    store = FrameCache(1000)
    error = ValueError("damaged")

    def fail(memory: Frame | None) -> Frame:
        time.sleep(0.1)
        raise error

    found = [future.exception() for future in ask_at_once(6, lambda: get(store, 1, 10, fail))]
    assert found == [error] * 6
    assert store.figures().failures == store.figures().decodes
    assert store.figures().cached_bytes == 0
    assert decoder.get(store, 1).tolist() == [1] * 10
    assert decoder.calls == [1]


def test_room_of_failed_decodes_is_given_back(decoder: Decoder) -> None:
    store = FrameCache(20)
    for key in range(5):
        with pytest.raises(OSError, match="damaged"):
            get(store, key, 20, fail_to_decode)
    decoder.get(store, 1)
    decoder.get(store, 2)
    assert store.figures().cached_bytes == 20


def test_frames_under_decode_count_towards_the_budget(decoder: Decoder) -> None:
    store = FrameCache(20)
    decoder.get(store, 1)
    decoder.get(store, 2)
    both = threading.Barrier(2)
    cached: list[int] = []

    def decode(memory: Frame | None) -> Frame:
        both.wait(SECONDS)
        cached.append(store.figures().cached_bytes)
        both.wait(SECONDS)
        return np.zeros(10, np.uint8)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(get, store, key, 10, decode) for key in (3, 4)]:
            future.result(SECONDS)
    assert cached == [0, 0], "both old frames went before both new ones were decoded"
    assert store.figures().cached_bytes == 20


def test_a_decode_waits_until_there_is_room(decoder: Decoder) -> None:
    store = FrameCache(15)
    gate = Gate()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, store, 1, 10, gate)
        assert gate.begun.wait(SECONDS)
        second = pool.submit(decoder.get, store, 2)
        time.sleep(0.1)
        assert decoder.calls == []
        gate.open.set()
        first.result(SECONDS)
        assert second.result(SECONDS).tolist() == [2] * 10
    assert store.figures().cached_bytes == 10


@pytest.mark.parametrize("budget", [0, 25, 100])
def test_the_budget_is_kept_by_many_threads(decoder: Decoder, background: ThreadPoolExecutor, budget: int) -> None:
    store = decoder.store = FrameCache(budget, background)
    sizes = [1, 3, 5, 7, 10, 11, 13, 25, 8, 2]

    def read(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(60):
            key, coming = rng.randrange(10), rng.randrange(10)
            assert decoder.get(store, key, sizes[key]).tolist() == [key] * sizes[key]
            size = sizes[coming]
            prefetch(store, coming, size, lambda _, coming=coming, size=size: decoder.frame(coming, size))  # type: ignore[misc]

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(read, seed) for seed in range(6)]:
            future.result()
    # a frame larger than the budget is decoded alone
    assert decoder.peak <= max(budget, *sizes)
    figures = store.figures()
    assert figures.cached_bytes <= figures.budget_bytes == budget
    assert figures.failures == 0


def test_a_frame_larger_than_the_budget_is_served_and_not_kept(decoder: Decoder) -> None:
    store = FrameCache(15)
    decoder.get(store, 1)
    assert decoder.get(store, 2, 100).tolist() == [2] * 100
    assert store.figures().cached_bytes == 0
    decoder.get(store, 2, 100)
    assert decoder.calls == [1, 2, 2]


def test_the_least_recently_used_frame_goes_first(decoder: Decoder) -> None:
    store = FrameCache(30)
    for key in (1, 2, 3, 1, 4):  # 2 goes
        decoder.get(store, key)
    for key in (1, 3, 4):
        get(store, key, 10, never)
    decoder.get(store, 2)
    assert decoder.calls == [1, 2, 3, 4, 2]


@given(
    st.integers(0, 40),
    st.lists(st.integers(1, 50), min_size=6, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.booleans())),
)
def test_any_order_of_reading(budget: int, sizes: list[int], reads: list[tuple[int, bool]]) -> None:
    store = FrameCache(budget)
    kept: OrderedDict[int, Frame] = OrderedDict()
    hits = decodes = failures = 0

    def held() -> int:
        return sum(frame.nbytes for frame in kept.values())

    def fail(memory: Frame | None) -> Frame:
        raise OSError

    for key, good in reads:
        size = sizes[key]
        if key in kept:
            assert get(store, key, size, never) is kept[key]
            kept.move_to_end(key)
            hits += 1
            continue
        while kept and held() + size > budget:
            kept.popitem(last=False)
        decodes += 1
        if good:
            made = np.zeros(size, np.uint8)
            assert get(store, key, size, lambda _, made=made: made) is made  # type: ignore[misc]
            if size <= budget:
                kept[key] = made
        else:
            failures += 1
            with pytest.raises(OSError):  # noqa: PT011 - the one that was raised
                get(store, key, size, fail)
        figures = store.figures()
        assert (figures.hits, figures.decodes, figures.failures) == (hits, decodes, failures)
        assert figures.cached_bytes == held()


def test_frames_given_away_whole_keep_a_small_part_of_the_budget(decoder: Decoder) -> None:
    store = FrameCache(1600)
    for key in range(50):
        decoder.get(store, key)
        served(store, key)
    # a sixteenth of the budget holds the last ten of them, and one goes when the next one comes
    assert store.figures().cached_bytes == 110
    for key in range(40, 50):
        decoder.get(store, key)
    assert len(decoder.calls) == 50


def test_a_frame_served_whole_twice_counts_once(decoder: Decoder) -> None:
    store = FrameCache(1600)
    for key in range(10):
        decoder.get(store, key)
        served(store, key)
        served(store, key)
    decoder.get(store, 10)
    assert store.figures().cached_bytes == 110


def test_frames_that_were_dropped_take_no_share_of_those_served_whole(decoder: Decoder) -> None:
    store = FrameCache(160)
    for key in range(100):
        # of 16 frames, at most one was served whole; it is dropped as the least recently used
        decoder.get(store, key)
        if key % 30 == 0:
            served(store, key)
    decoder.get(store, 200)
    served(store, 200)
    decoder.get(store, 201)
    decoder.calls.clear()
    decoder.get(store, 200)
    assert decoder.calls == []


def test_a_frame_requested_again_is_kept_like_any_other(decoder: Decoder) -> None:
    store = FrameCache(1600)
    decoder.get(store, 0)
    served(store, 0)
    decoder.get(store, 0)
    for key in range(1, 30):
        decoder.get(store, key)
        served(store, key)
    decoder.get(store, 0)
    assert decoder.calls.count(0) == 1


def test_a_frame_that_is_gone_can_be_called_served(decoder: Decoder) -> None:
    store = FrameCache(100)
    served(store, "never seen")
    for key in range(30):
        decoder.get(store, key)
    served(store, 0)
    assert store.figures().cached_bytes == 100


def test_decodes_of_which_few_may_run_get_their_turn() -> None:
    store = FrameCache(1000)
    first, second, third, fourth = (Gate() for _ in range(4))
    with ThreadPoolExecutor(4) as pool:
        pool.submit(get, store, 1, 10, first, 4)
        pool.submit(get, store, 2, 10, second, 4)
        assert first.begun.wait(SECONDS)
        assert second.begun.wait(SECONDS)
        few = pool.submit(get, store, 3, 10, third, 2)
        time.sleep(0.1)
        pool.submit(get, store, 4, 10, fourth, 4)
        time.sleep(0.1)
        # the fourth could begin, but the third has waited longer
        assert not fourth.begun.is_set()
        first.open.set()
        assert third.begun.wait(SECONDS)
        assert fourth.begun.wait(SECONDS)
        for gate in (second, third, fourth):
            gate.open.set()
        few.result(SECONDS)
