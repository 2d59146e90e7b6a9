"""The frame store: decoded frames in memory, least recently used ones going first.

Frames that were given away whole, from their first byte to the last, are kept in a small part of the budget only: the
kernel has their bytes in its page cache by then. Memory of frames that are dropped is used again for the next ones.

Threads: any thread may call `get`. The first that asks for a frame decodes it (its movie's pool does the strips), all
others wait for that one decode. What has to be read is read before a decode gets its turn, so that storage that is
stuck keeps no other frame waiting. The lock guards the tables and is never held during a decode. Room is set aside
before a decode begins, so frames held and frames being decoded together stay within the budget; a frame larger than the
whole budget is decoded alone and not kept.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache
from numpy.typing import NDArray

from cryofs.cache.buffer_reuse import reuse
from cryofs.cache.sequential_readers import Readers

# Frames decoded at the same time where each has all threads of a pool for its strips; more would only take memory.
_DECODES_AT_ONCE = 2
# Share of the budget for frames that were given away whole.
_SHARE_OF_SERVED = 1 / 16

Frame = NDArray[Any]
# Called with memory of the frame's size that may be used for it, or None.
Decode = Callable[[Frame | None], Frame]
# What has to be read before: nobody else's decode waits for that.
Read = Callable[[], None]


@dataclass
class StoreFigures:
    """What the store has done since it was made; seconds of decodes side by side are added up."""

    hits: int = 0
    misses: int = 0
    decodes: int = 0
    decode_seconds: float = 0.0
    read_ahead: int = 0
    failures: int = 0
    cached_bytes: int = 0
    budget_bytes: int = 0


class FrameStore:
    """Decoded frames, at most `budget` bytes of them.

    Parameters
    ----------
    background : Executor or None
        Runs read-ahead; without it there is none.

    Attributes
    ----------
    readers : Readers
        Those who read in order, for which frames are decoded ahead.
    """

    def __init__(self, budget: int, background: Executor | None = None):
        self.readers = Readers(budget)
        self._budget = budget
        self._background = background
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._cached: LRUCache[Hashable, Frame] = LRUCache(budget, getsizeof=lambda frame: frame.nbytes)
        # with what runs in the background for it, where that may not have begun
        self._under_way: dict[Hashable, tuple[Future[Frame], Future[None] | None]] = {}
        # those of the cached frames that were given away whole, with their sizes
        self._served: OrderedDict[Hashable, int] = OrderedDict()
        self._waiting: deque[object] = deque()
        self._reserved = 0
        self._decoding = 0
        self._figures = StoreFigures(budget_bytes=budget)

    def get(
        self, key: Hashable, size: int, decode: Decode, at_once: int = _DECODES_AT_ONCE, read: Read = lambda: None
    ) -> Frame:
        """Frame under `key`, decoded by `decode` unless it is there; it must not be changed.

        Parameters
        ----------
        size : int
            Bytes that the frame takes, for which room is made first.
        at_once : int
            Decodes that may be under way at the same time, this one included.
        read : callable
            Called before `decode`, without a turn.
        """
        with self._lock:
            if (frame := self._cached.get(key)) is not None:
                self._served.pop(key, None)
                self._figures.hits += 1
                return frame
            mine, begun = self._under_way.get(key, (None, None))
            if mine is None:
                mine, is_mine = Future(), True
                self._figures.misses += 1
            else:
                # what waits in the background for others is done here
                is_mine = begun is not None and begun.cancel()
            if is_mine:
                self._under_way[key] = mine, None
        if is_mine:
            self._fulfil(mine, key, size, decode, at_once, read)
            return mine.result()
        frame = mine.result()
        with self._lock:
            self._figures.hits += 1
        return frame

    def held(self, key: Hashable) -> Frame | None:
        """Frame under `key` if it is there."""
        with self._lock:
            if (frame := self._cached.get(key)) is not None:
                self._figures.hits += 1
            return frame

    def prefetch(
        self, key: Hashable, size: int, decode: Decode, at_once: int = _DECODES_AT_ONCE, read: Read = lambda: None
    ) -> Future[None] | None:
        """Decode a frame in the background, if there is room for it without waiting.

        Returns
        -------
        Future or None
            Done, without holding the frame, when `decode` is no longer needed; None where nothing was begun.
        """
        if self._background is None:
            return None
        with self._lock:
            busy = self._decoding >= at_once or self._reserved + 2 * size > self._budget
            if busy or key in self._cached or key in self._under_way:
                return None
            future: Future[Frame] = Future()
            begun = self._background.submit(self._fulfil, future, key, size, decode, at_once, read)
            self._under_way[key] = future, begun
            self._figures.read_ahead += 1
        return begun

    def served(self, key: Hashable) -> None:
        """A frame was given away whole: of these, only the last ones are kept when room is made for others."""
        with self._lock:
            if key in self._cached:
                self._served[key] = self._cached[key].nbytes

    def figures(self) -> StoreFigures:
        """Figures as of now."""
        with self._lock:
            self._figures.cached_bytes = int(self._cached.currsize)
            return StoreFigures(**vars(self._figures))

    def _fulfil(
        self, future: Future[Frame], key: Hashable, size: int, decode: Decode, at_once: int, read: Read
    ) -> None:
        """Hand a frame to all who wait for it, or the error, whatever that is."""
        with self._lock:
            # a pool may keep what it has refused, and run it when others decode the frame
            if self._under_way.get(key, (None, None))[0] is not future:
                return
        try:
            frame = self._decoded(key, size, decode, at_once, read)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the frame gets it
            future.set_exception(error)
        else:
            future.set_result(frame)

    def _decoded(self, key: Hashable, size: int, decode: Decode, at_once: int, read: Read) -> Frame:
        """A frame, decoded when it has its turn, and kept."""
        try:
            read()
        except BaseException:
            with self._lock:
                del self._under_way[key]
                self._figures.failures += 1
            raise
        # what is dropped is given back to the system here, without the lock
        spare = reuse(self._make_room(size, at_once), size)
        started = time.monotonic()
        frame = None
        try:
            frame = decode(spare)
        finally:
            self._finish(key, size, frame, started)
        return frame

    def _make_room(self, size: int, at_once: int) -> list[Frame]:
        """Wait until a frame of this size may be decoded, and set its room aside; return the frames dropped for it."""
        dropped = []
        ticket = object()
        with self._room:
            # in the order of asking, or decodes of which many may run would keep out those of which few may
            self._waiting.append(ticket)
            self._room.wait_for(
                lambda: (
                    self._waiting[0] is ticket
                    and self._decoding < at_once
                    and (self._decoding == 0 or self._reserved + size <= self._budget)
                )
            )
            self._waiting.popleft()
            self._room.notify_all()
            self._decoding += 1
            self._reserved += size
            while sum(self._served.values()) > self._budget * _SHARE_OF_SERVED:
                oldest, _ = self._served.popitem(last=False)
                dropped.append(self._cached.pop(oldest))
            while self._cached and self._cached.currsize + self._reserved > self._budget:
                least_recent, frame = self._cached.popitem()
                self._served.pop(least_recent, None)
                dropped.append(frame)
        return dropped

    def _finish(self, key: Hashable, size: int, frame: Frame | None, started: float) -> None:
        with self._room:
            self._decoding -= 1
            self._reserved -= size
            del self._under_way[key]
            self._figures.decodes += 1
            self._figures.decode_seconds += time.monotonic() - started
            if frame is None:
                self._figures.failures += 1
            elif self._cached.currsize + frame.nbytes <= self._budget:
                self._cached[key] = frame
            self._room.notify_all()
