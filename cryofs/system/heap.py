"""Return freed memory of the heap to the system, with glibc; other C libraries are left unchanged.

Threads: `freed` may be called from any thread; the lock guards the numbers.
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterable

# from malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Size from which a block is a mapping of its own, which is returned when it is freed.
_OWN_MAPPING = 2 << 20
# Bytes of smaller blocks after which holes of the heap are returned, and the least seconds between two times. The
# kernel has to clear the pages again when they are used.
_TRIM_BYTES, _TRIM_SECONDS = 64 << 20, 1.0

_lock = threading.Lock()
# None until `limit_heap`
_trim: Callable[[int], object] | None = None
_freed_bytes = 0
_next_trim = 0.0


def limit_heap() -> None:
    """Configure the heap of a process that caches much (mallopt(3)).

    By default, glibc has one heap per thread, which holds blocks of up to 32 MiB. Fragmentation of these heaps wastes
    about a fifth of the cache size. A few free megabytes are kept, because each reply briefly allocates one, and
    mapping new pages takes longer than copying the data.
    """
    global _trim
    with contextlib.suppress(AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)
        library.mallopt(_M_TRIM_THRESHOLD, 16 << 20)
        _trim = library.malloc_trim


def freed(sizes: Iterable[int]) -> None:
    """Return the holes of the heap to the system if the cache has dropped many small blocks, whose sizes are passed.

    Otherwise row blocks that were dropped for frames leave their memory in the heap, a quarter of the cache size.
    """
    global _freed_bytes, _next_trim
    size = sum(size for size in sizes if size < _OWN_MAPPING)
    if not size:
        return
    now = time.monotonic()
    with _lock:
        _freed_bytes += size
        if _trim is None or _freed_bytes < _TRIM_BYTES or now < _next_trim:
            return
        _freed_bytes, _next_trim = 0, now + _TRIM_SECONDS
    _trim(0)
