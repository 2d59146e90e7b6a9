"""Cache of decoded frames and row blocks; the least recently used ones are dropped first.

Frames that were completely served get only a small part of the budget, because the page cache of the kernel contains
the same bytes. The memory of dropped frames is reused.

Threads: thread-safe. The first thread that requests a frame reads and decodes it (the pool of its movie decodes the
strips); other threads wait for the result. A frame is read before it queues for decoding, so hanging storage does not
delay other frames. The lock guards the tables and is not held during a read or a decode. Space is reserved before a
decode starts, so that cached frames and frames being decoded never exceed the budget in total. A frame larger than the
whole budget is decoded alone and not cached.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from cryofs.cache.buffer_reuse import reuse
from cryofs.cache.sequential_readers import Readers
from cryofs.errors import StuckError
from cryofs.system import deadlines, heap
from cryofs.system.resources import usable_cores

# Minimum number of concurrent decodes of whole frames, so that a reader does not wait for the read-ahead of another.
_DECODES_AT_ONCE = 2
# Fraction of the budget for frames that were completely served, and their largest size in bytes. The kernel keeps what
# was served, and the next frame takes less time if it is decoded into memory that was used a short time ago.
_SHARE_OF_SERVED = 1 / 16
_MOST_SERVED = 32 << 20

Frame = NDArray[Any]
Key = tuple[tuple[Hashable, ...], int, range | None]


class Encoded(Protocol):
    """Interface of an encoded frame or row block."""

    def decode(self, out: Frame | None = None) -> Frame:
        """Return the decoded frame or row block as a flat array, in `out` if given (same size in bytes)."""

    def for_one_thread(self) -> "Encoded":
        """Return the same frame or row block, which the thread that calls `decode` decodes alone."""


class CachedMovie(Protocol):
    """Interface of a movie to the cache."""

    @property
    def name(self) -> str:
        """Name of the file, for messages."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        """Key of the content of the movie."""

    @property
    def decodes_at_once(self) -> int:
        """Number of frames to decode at the same time for a sequential reader."""

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size of a decoded frame or row block in bytes."""

    def read_frame(self, index: int, rows: range | None = None) -> Encoded:
        """Read a frame, or only the rows in `rows`, and return it encoded."""


# Function that runs a read, given the file name, the read, and a suffix of the name in messages.
RunIo = Callable[[str, Callable[[], Encoded], str], Encoded]


def _run_now(name: str, call: Callable[[], Encoded], what: str) -> Encoded:
    return call()


@dataclass
class CacheFigures:
    """Counters of the cache. The seconds of concurrent decodes are summed."""

    hits: int = 0
    misses: int = 0
    decodes: int = 0
    decode_seconds: float = 0.0
    read_ahead: int = 0
    failures: int = 0
    cached_bytes: int = 0
    budget_bytes: int = 0


@dataclass(frozen=True, eq=False)
class _Request:
    """A frame or row block that is being read or decoded; other threads wait for its future."""

    movie: CachedMovie
    key: Key
    size: int
    at_once: int
    future: Future[Frame]
    is_ahead: bool = False


def _late(request: _Request) -> StuckError:
    return StuckError(
        f"{request.movie.name}: frame {request.key[1]} was not decoded in the time that this kernel gives a request, "
        "because other frames are being decoded; read with fewer programs at a time"
    )


class FrameCache:
    """Cache of at most `budget` bytes of decoded frames.

    Parameters
    ----------
    background : Executor or None
        Executor of the read-ahead; None disables read-ahead.
    run_io : callable
        Function that runs the reads; by default in the calling thread.

    Attributes
    ----------
    readers : Readers
        Table of the sequential readers.
    """

    def __init__(self, budget: int, background: Executor | None = None, run_io: RunIo = _run_now):
        self.readers = Readers(budget)
        self._budget = budget
        self._budget_of_served = min(budget * _SHARE_OF_SERVED, _MOST_SERVED)
        self._background = background
        self._run_io = run_io
        self._row_blocks_at_once = usable_cores() + 1
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        # in order of use, the most recently used last
        self._cached: OrderedDict[Key, Frame] = OrderedDict()
        self._cached_bytes = 0
        # each with the task of the background pool, which may not have started
        self._under_way: dict[Key, tuple[_Request, Future[None] | None]] = {}
        # cached frames that were completely served, with their sizes
        self._served: OrderedDict[Key, int] = OrderedDict()
        self._served_bytes = 0
        self._waiting: deque[object] = deque()
        self._reserved = 0
        self._decoding = 0
        self._figures = CacheFigures(budget_bytes=budget)

    def get(self, movie: CachedMovie, index: int, rows: range | None = None) -> Frame:
        """Return a decoded frame or row block as a flat array, which the caller must not modify.

        If it is not in the cache, it is read and decoded.
        """
        key = movie.identity, index, rows
        with self._lock:
            if (frame := self._cached.get(key)) is not None:
                self._cached.move_to_end(key)
                self._forget_served(key)
                self._figures.hits += 1
                return frame
            request, begun = self._under_way.get(key, (None, None))
            # take over a read-ahead that has not started
            is_mine = request is None or (begun is not None and begun.cancel())
            if request is None:
                request = self._request(movie, key)
                self._figures.misses += 1
            if is_mine:
                # the movie of a read-ahead that does not begin may be closed at any time
                request = replace(request, movie=movie, is_ahead=False)
                self._under_way[key] = request, None
        if is_mine:
            self._load(request)
            return request.future.result()
        frame = self._result_of_other(request)
        with self._lock:
            self._figures.hits += 1
        return frame

    def _result_of_other(self, request: _Request) -> Frame:
        """Return the frame that another thread reads and decodes."""
        seconds = deadlines.seconds_left()
        try:
            return request.future.result(seconds)
        except TimeoutError:
            if request.future.done():
                # the error of the other thread, or a result that has just come
                return request.future.result()
            raise _late(request) from None

    def cached(self, movie: CachedMovie, index: int) -> Frame | None:
        """Return a whole frame from the cache, or None if it is not cached."""
        key = movie.identity, index, None
        with self._lock:
            if (frame := self._cached.get(key)) is not None:
                self._cached.move_to_end(key)
                self._figures.hits += 1
            return frame

    def prefetch(self, movie: CachedMovie, index: int) -> Future[None] | None:
        """Read and decode a frame in the background, unless this would have to wait for space in the cache.

        Returns
        -------
        Future or None
            Future without a result that completes once the task no longer uses the movie. None if no task was started.
        """
        if self._background is None:
            return None
        key = movie.identity, index, None
        with self._lock:
            if key in self._cached or key in self._under_way:
                return None
            request = replace(self._request(movie, key), is_ahead=True)
            if self._decoding >= request.at_once or self._reserved + 2 * request.size > self._budget:
                return None
            begun = self._background.submit(self._load, request)
            self._under_way[key] = request, begun
            self._figures.read_ahead += 1
        return begun

    def served(self, movie: CachedMovie, index: int) -> None:
        """Record that a frame was completely served; such frames are dropped first."""
        key = movie.identity, index, None
        with self._lock:
            if (frame := self._cached.get(key)) is not None:
                self._cached.move_to_end(key)
                self._forget_served(key)
                self._served[key] = frame.nbytes
                self._served_bytes += frame.nbytes

    def drop(self, identity: tuple[Hashable, ...]) -> None:
        """Drop the frames of all movies whose identity begins with this one, as those made of one file do."""
        with self._lock:
            for key in [key for key in self._cached if key[0][: len(identity)] == identity]:
                self._cached_bytes -= self._cached.pop(key).nbytes
                self._forget_served(key)

    def figures(self) -> CacheFigures:
        """Return the current counters."""
        with self._lock:
            self._figures.cached_bytes = self._cached_bytes
            return CacheFigures(**vars(self._figures))

    def _request(self, movie: CachedMovie, key: Key) -> _Request:
        rows = key[2]
        at_once = max(_DECODES_AT_ONCE, movie.decodes_at_once) if rows is None else self._row_blocks_at_once
        return _Request(movie, key, movie.decoded_bytes(rows), at_once, Future())

    def _load(self, request: _Request) -> None:
        """Read and decode a frame, and pass the frame or the error to all waiting threads."""
        key, movie = request.key, request.movie
        with self._lock:
            # a pool may run a task that it refused; another thread may have taken over the frame
            if self._under_way.get(key, (None, None))[0] is not request:
                return
        try:
            _, index, rows = key
            encoded = self._run_io(movie.name, partial(movie.read_frame, index, rows), f", frame {index}")
        except BaseException as error:  # noqa: BLE001 - passed to the waiting threads
            with self._lock:
                del self._under_way[key]
                self._figures.failures += 1
            request.future.set_exception(error)
            return
        try:
            frame = self._decode(request, encoded)
        except BaseException as error:  # noqa: BLE001 - passed to the waiting threads
            request.future.set_exception(error)
        else:
            request.future.set_result(frame)

    def _decode(self, request: _Request, encoded: Encoded) -> Frame:
        """Wait for the turn of a frame, then decode, cache and return it."""
        # without the lock, because this returns dropped memory to the system
        dropped = self._make_room(request)
        sizes = [frame.nbytes for frame in dropped]
        spare = reuse(dropped, request.size)
        heap.freed(sizes)
        started = time.monotonic()
        frame = None
        try:
            # the other cores serve what is decoded; more threads for a frame would only interrupt them
            frame = (encoded.for_one_thread() if request.is_ahead else encoded).decode(spare)
        finally:
            self._finish(request, frame, started)
        return frame

    def _make_room(self, request: _Request) -> list[Frame]:
        """Wait for the turn of a frame, reserve space for it, and return the frames dropped for it."""
        dropped = []
        ticket = object()
        with self._room:
            # in order of arrival, because movies with many concurrent decodes would starve those with few
            self._waiting.append(ticket)
            has_room = self._room.wait_for(
                lambda: (
                    self._waiting[0] is ticket
                    and self._decoding < request.at_once
                    and (self._decoding == 0 or self._reserved + request.size <= self._budget)
                ),
                deadlines.seconds_left(),
            )
            self._waiting.remove(ticket)
            self._room.notify_all()
            if not has_room:
                del self._under_way[request.key]
                self._figures.failures += 1
                raise _late(request)
            self._decoding += 1
            self._reserved += request.size
            while self._served_bytes > self._budget_of_served:
                oldest, size = self._served.popitem(last=False)
                dropped.append(self._cached.pop(oldest))
                self._served_bytes -= size
                self._cached_bytes -= size
            while self._cached and self._cached_bytes + self._reserved > self._budget:
                least_recent, frame = self._cached.popitem(last=False)
                self._cached_bytes -= frame.nbytes
                self._forget_served(least_recent)
                dropped.append(frame)
        return dropped

    def _forget_served(self, key: Key) -> None:
        self._served_bytes -= self._served.pop(key, 0)

    def _finish(self, request: _Request, frame: Frame | None, started: float) -> None:
        with self._room:
            self._decoding -= 1
            self._reserved -= request.size
            del self._under_way[request.key]
            self._figures.decodes += 1
            self._figures.decode_seconds += time.monotonic() - started
            if frame is None:
                self._figures.failures += 1
            elif self._cached_bytes + frame.nbytes <= self._budget:
                self._cached[request.key] = frame
                self._cached_bytes += frame.nbytes
            self._room.notify_all()
