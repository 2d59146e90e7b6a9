"""The frame store: one decode for all who ask, memory within its budget, errors for those who wait alone."""

import functools
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.cache.frame_cache import Frame, FrameCache

SECONDS = 20  # until a test that hangs fails
Decode = Callable[[Frame | None], Frame]


@dataclass(frozen=True)
class Undecoded:
    """A frame that was read."""

    call: Decode

    def decode(self, out: Frame | None = None) -> Frame:
        return self.call(out)


@dataclass(frozen=True)
class OneFrame:
    """A movie of one frame."""

    identity: Hashable
    size: int
    call: Decode
    decodes_at_once: int = 2
    name: str = "movie"

    def decoded_bytes(self, rows: range | None = None) -> int:
        return self.size

    def read_frame(self, index: int, rows: range | None = None) -> Undecoded:
        return Undecoded(self.call)


def get(store: FrameCache, key: Hashable, size: int, decode: Decode, at_once: int = 2) -> Frame:
    return store.get(OneFrame(key, size, decode, at_once), 0)


def prefetch(store: FrameCache, key: Hashable, size: int, decode: Decode, at_once: int = 2) -> Future[None] | None:
    return store.prefetch(OneFrame(key, size, decode, at_once), 0)


def served(store: FrameCache, key: Hashable) -> None:
    store.served(OneFrame(key, 0, never), 0)


class Decoder:
    """Makes frames whose bytes are their key, and counts: how often, and the most memory that frames ever took."""

    def __init__(self) -> None:
        self.store: FrameCache | None = None
        self.calls: list[int] = []
        self.peak = 0
        self._in_flight = 0
        self._lock = threading.Lock()

    def frame(self, key: int, size: int, pause: float = 0) -> Frame:
        with self._lock:
            self.calls.append(key)
            self._in_flight += size
            cached = 0 if self.store is None else self.store.figures().cached_bytes
            self.peak = max(self.peak, self._in_flight + cached)
        time.sleep(pause)
        with self._lock:
            self._in_flight -= size
        return np.full(size, key, np.uint8)

    def get(self, store: FrameCache, key: int, size: int = 10, pause: float = 0) -> Frame:
        return get(store, key, size, lambda _: self.frame(key, size, pause))


class Gate:
    """A decode that says that it has begun, and ends when it is told to."""

    def __init__(self, frame: Frame | None = None, error: BaseException | None = None) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self._frame = np.zeros(10, np.uint8) if frame is None else frame
        self._error = error

    def __call__(self, memory: Frame | None) -> Frame:
        self.begun.set()
        assert self.open.wait(SECONDS)
        if self._error is not None:
            raise self._error
        return self._frame


def fail_to_decode(memory: Frame | None) -> Frame:
    raise OSError("damaged")


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def never(memory: Frame | None) -> Frame:
    raise AssertionError("decoded although it was there")


def ask_at_once(count: int, ask: Callable[[], Frame]) -> list[Future[Frame]]:
    """What `count` threads get that ask together."""
    barrier = threading.Barrier(count)

    def run() -> Frame:
        barrier.wait(SECONDS)
        return ask()

    with ThreadPoolExecutor(count) as pool:
        return [pool.submit(run) for _ in range(count)]


def test_one_decode_however_many_ask(decoder: Decoder) -> None:
    store = FrameCache(1000)
    found = [future.result() for future in ask_at_once(8, lambda: decoder.get(store, 7, pause=0.1))]
    assert decoder.calls == [7]
    assert all(frame is found[0] for frame in found)
    assert found[0].tolist() == [7] * 10
    figures = store.figures()
    assert (figures.decodes, figures.hits, figures.failures) == (1, 7, 0)


def test_one_decode_for_all_who_ask_for_a_frame_larger_than_the_budget(decoder: Decoder) -> None:
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


def test_prefetch_fills(decoder: Decoder, background: ThreadPoolExecutor) -> None:
    store = FrameCache(100, background)
    coming = prefetch(store, 1, 10, lambda _: decoder.frame(1, 10))
    assert coming is not None
    assert coming.result(SECONDS) is None, "the frame is the store's alone"
    assert get(store, 1, 10, never).tolist() == [1] * 10
    figures = store.figures()
    assert (figures.read_ahead, figures.decodes, figures.hits) == (1, 1, 1)


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


def test_prefetch_blocks_nobody(decoder: Decoder, background: ThreadPoolExecutor) -> None:
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
    """A pool that is to have no thread, once: it says so, and keeps the task for later, as those of Python do."""

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


def test_a_frame_asked_for_again_is_kept_like_any_other(decoder: Decoder) -> None:
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


def test_memory_that_somebody_holds_is_left_alone() -> None:
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
def test_frames_are_right_whatever_is_held(requests: list[tuple[int, bool]], room: int) -> None:
    store = FrameCache(room * 100)
    held: list[tuple[int, Frame]] = []
    for key, hold in requests:
        frame = get(store, key, 100, counting_decode([], key))
        assert np.all(frame == key)
        served(store, key)
        if hold:
            held.append((key, frame[::7]))
    assert all(np.all(piece == key) for key, piece in held)


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
