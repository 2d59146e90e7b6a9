"""Frames decoded in advance: when, how many, and without harm to readers."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cryofs.cache.frame_cache import Frame, FrameCache
from tests.cache.frames import SECONDS, Decoder, Gate, OneFrame, get, never, prefetch


def test_prefetch_fills(decoder: Decoder, background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    coming = prefetch(store, 1, 10, lambda _: decoder.frame(1, 10))
    assert coming is not None
    assert coming.result(SECONDS) is None, "the frame is the store's alone"
    assert get(store, 1, 10, never).tolist() == [1] * 10
    figures = store.figures()
    assert (figures.read_ahead, figures.decodes, figures.hits) == (1, 1, 1)


def of_threads(key: int) -> OneFrame:
    """A movie whose frame contains 1 if the calling thread decodes it alone, otherwise 2."""
    one, several = np.full(10, 1, np.uint8), np.full(10, 2, np.uint8)
    return OneFrame((key,), 10, lambda _: several, call_in_one_thread=lambda _: one)


def test_only_a_frame_that_a_reader_waits_for_uses_several_threads(background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    assert store.get(of_threads(1), 0).tolist() == [2] * 10
    coming = store.prefetch(of_threads(2), 0)
    assert coming is not None
    coming.result(SECONDS)
    assert get(store, 2, 10, never).tolist() == [1] * 10


def test_a_reader_that_takes_over_a_read_ahead_uses_several_threads(background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    gate = Gate()
    assert prefetch(store, 1, 10, gate) is not None
    assert gate.begun.wait(SECONDS)
    # the only thread of the background is busy
    assert store.prefetch(of_threads(2), 0) is not None
    assert store.get(of_threads(2), 0).tolist() == [2] * 10
    gate.open.set()


def test_prefetch_decodes_nothing_twice(decoder: Decoder, background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    decoder.get(store, 1)
    assert prefetch(store, 1, 10, never) is None
    gate = Gate()
    coming = prefetch(store, 2, 10, gate)
    assert coming is not None
    assert gate.begun.wait(SECONDS)
    assert prefetch(store, 2, 10, never) is None
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(get, store, 2, 10, never)
        gate.open.set()
        assert reader.result(SECONDS).tolist() == [0] * 10
    assert store.figures().read_ahead == 1


def test_prefetch_does_not_block_readers(decoder: Decoder, background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    gate = Gate()
    assert prefetch(store, 1, 10, gate) is not None
    assert gate.begun.wait(SECONDS)
    # while that decode lasts, in the one background thread: more is queued or refused, and readers are served
    for key in range(2, 20):
        prefetch(store, key, 10, lambda _, key=key: decoder.frame(key, 10))  # type: ignore[misc]
    assert decoder.calls == []
    assert decoder.get(store, 50).tolist() == [50] * 10
    gate.open.set()


def test_prefetch_leaves_room_for_the_frame_being_read(background: ThreadPoolExecutor) -> None:
    assert prefetch(FrameCache(19, background), 1, 10, never) is None
    assert prefetch(FrameCache(20, background), 1, 10, lambda _: np.zeros(10, np.uint8)) is not None
    assert prefetch(FrameCache(0, background), 1, 10, never) is None


def test_prefetch_waits_for_no_room(background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    gates = [Gate(), Gate()]
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(get, store, key, 10, gate) for key, gate in enumerate(gates)]
        for gate in gates:
            assert gate.begun.wait(SECONDS)
        assert prefetch(store, 5, 10, never) is None
        for gate in gates:
            gate.open.set()
        for reader in readers:
            reader.result(SECONDS)


def test_no_prefetch_without_a_background() -> None:
    store = FrameCache(100)
    assert prefetch(store, 1, 10, never) is None
    assert store.figures().read_ahead == 0


def test_a_failed_prefetch_harms_no_reader(decoder: Decoder, background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    coming = prefetch(store, 1, 10, never)
    assert coming is not None
    assert coming.exception(SECONDS) is None
    assert store.figures().failures == 1
    assert decoder.get(store, 1).tolist() == [1] * 10


def test_a_prefetch_that_cannot_start_harms_no_reader(decoder: Decoder) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    store = FrameCache(100, pool)
    with pytest.raises(RuntimeError):
        prefetch(store, 1, 10, never)
    found: list[Frame] = []
    reader = threading.Thread(target=lambda: found.append(decoder.get(store, 1)), daemon=True)
    reader.start()
    reader.join(2)
    assert len(found) == 1, "the reader waits for a decode that never began"


class RefusingPool(ThreadPoolExecutor):
    """A pool that fails once to start a thread, and keeps the task for later, as pools of Python do."""

    refused: Callable[[], None] | None = None

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        if self.refused is None:
            self.refused = functools.partial(call, *arguments, **options)
            raise RuntimeError("can't start new thread")
        return super().submit(call, *arguments, **options)


def test_a_refused_prefetch_that_runs_later_takes_nothing_from_readers() -> None:
    with RefusingPool(1) as pool, ThreadPoolExecutor(2) as readers:
        store = FrameCache(100, pool)
        with pytest.raises(RuntimeError, match="new thread"):
            prefetch(store, 1, 10, never)
        gate = Gate()
        first = readers.submit(get, store, 1, 10, gate)
        assert gate.begun.wait(SECONDS)
        second = readers.submit(get, store, 1, 10, never)
        assert pool.refused is not None
        pool.refused()
        gate.open.set()
        assert first.result(SECONDS) is second.result(SECONDS)
        pool.refused()
    assert store.figures().failures == 0


def test_several_frames_are_decoded_ahead() -> None:
    gates = [Gate() for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        store = FrameCache(1000, pool)
        for key, gate in enumerate(gates):
            assert prefetch(store, key, 10, gate, at_once=3) is not None
        for gate in gates:
            assert gate.begun.wait(SECONDS)
        assert prefetch(store, 3, 10, Gate(), at_once=3) is None
        for gate in gates:
            gate.open.set()
