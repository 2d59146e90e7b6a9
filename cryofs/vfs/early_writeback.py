"""Writing changed bytes to the disk while programs still write the file, so that the sync at its end is short.

Otherwise the kernel begins when much of the memory is changed, or when the program syncs or closes the file, and the
program waits for all of it then. What the disk reports is left to that sync.

Threads: safe to call from any thread; one thread begins the writeback, because the kernel may let it wait for the disk.
"""

import contextlib
import os
import queue
import threading

from cryofs.system import file_calls
from cryofs.vfs.handles import Handle

# Bytes that a handle writes between two beginnings; small files are left to the kernel.
_STEP = 8 << 20
_LAST_SECONDS = 5.0


class EarlyWriteback:
    """The thread that begins writeback."""

    def __init__(self) -> None:
        # a handle and a descriptor of its file, which this queue owns; None ends the thread
        self._queue: queue.SimpleQueue[tuple[Handle, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="writeback", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what is queued, unless the disk takes long."""
        self._queue.put(None)
        self._thread.join(_LAST_SECONDS)

    def written(self, handle: Handle, size: int) -> None:
        """Note that a handle has written some bytes, and begin the writeback of its file if there are enough."""
        handle.not_begun += size
        # at most one entry for each handle, however long the disk takes
        if handle.not_begun < _STEP or handle.is_queued or handle.writer is None:
            return
        # the bytes are written, so the write succeeds even if there is no descriptor left
        with contextlib.suppress(OSError):
            descriptor = os.dup(handle.writer)
            handle.not_begun, handle.is_queued = 0, True
            self._queue.put((handle, descriptor))

    def _work(self) -> None:
        while (found := self._queue.get()) is not None:
            handle, descriptor = found
            handle.is_queued = False
            try:
                # file systems without it report EINVAL or ESPIPE
                with contextlib.suppress(OSError):
                    file_calls.begin_writeback(descriptor)
            finally:
                os.close(descriptor)
