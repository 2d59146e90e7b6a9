"""Movies of one frame for the frame cache, whose decodes a test controls."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from cryofs.cache.frame_cache import Frame, FrameCache

SECONDS = 20  # until a test that hangs fails
Decode = Callable[[Frame | None], Frame]


@dataclass(frozen=True)
class Undecoded:
    """A frame that was read."""

    call: Decode
    call_in_one_thread: Decode

    def decode(self, out: Frame | None = None) -> Frame:
        return self.call(out)

    def for_one_thread(self) -> "Undecoded":
        return Undecoded(self.call_in_one_thread, self.call_in_one_thread)


@dataclass(frozen=True)
class OneFrame:
    """A movie of one frame."""

    identity: tuple[Hashable, ...]
    size: int
    call: Decode
    decodes_at_once: int = 2
    name: str = "movie"
    call_in_one_thread: Decode | None = None

    def decoded_bytes(self, rows: range | None = None) -> int:
        return self.size

    def read_frame(self, index: int, rows: range | None = None) -> Undecoded:
        return Undecoded(self.call, self.call_in_one_thread or self.call)


def get(store: FrameCache, key: Hashable, size: int, decode: Decode, at_once: int = 2) -> Frame:
    return store.get(OneFrame((key,), size, decode, at_once), 0)


def prefetch(store: FrameCache, key: Hashable, size: int, decode: Decode, at_once: int = 2) -> Future[None] | None:
    return store.prefetch(OneFrame((key,), size, decode, at_once), 0)


def served(store: FrameCache, key: Hashable) -> None:
    store.served(OneFrame((key,), 0, never), 0)


class Decoder:
    """Makes frames whose bytes are their key; counts the decodes and the peak of their memory."""

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
    """A decode that signals that it has begun, and ends when the test opens it."""

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


def never(memory: Frame | None) -> Frame:
    raise AssertionError("decoded although it was there")
